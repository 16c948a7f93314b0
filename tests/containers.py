"""An operator who stays connected and keeps asking every service, with the standard library only.

usage: containers.py PORT TOKEN SEED_HEX

Prints `pairing ID` and ends with 3 when somebody must approve it first. Otherwise it prints `connected`, which service stops and starts to
answer, and what it has seen when it is told to end (SIGTERM). It never connects a second time: a socket that is closed, an event that is
missing, or a service that does not answer at the end is an error.
"""
import json, pathlib, signal, sys, time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "system"))
from node import Key, Socket, url64

# A question that only the service itself answers.
PROBES = {
    "presence": "system-presence", "node": "node.list", "channel": "channels.status", "agent": "sessions.list", "canvas": "canvas.status",
}
SCOPES = ["operator.admin", "operator.approvals", "operator.pairing"]
PATIENCE = 60


def say(*words):
    print(*words, flush=True)


class Operator:
    def __init__(self, port, token, seed):
        self.token, self.key, self.requests, self.seq, self.events = token, Key(seed), 0, None, 0
        self.socket = Socket(port)

    def send(self, method, params):
        self.requests += 1
        frame = {"type": "req", "id": str(self.requests), "method": method, "params": params}
        self.socket.send(json.dumps(frame).encode())
        return frame["id"]

    def answer(self, id):
        while True:
            frame = self.socket.receive()
            if frame["type"] == "res" and frame["id"] == id:
                return frame
            if "seq" in frame:
                if self.seq is not None and frame["seq"] != self.seq + 1:
                    sys.exit(f"event {frame['seq']} came after {self.seq}")
                self.seq, self.events = frame["seq"], self.events + 1

    def ask(self, method, params):
        return self.answer(self.send(method, params))

    def connect(self):
        challenge = self.socket.receive()["payload"]
        fields = ["v2", self.key.id, "cli", "cli", "operator", ",".join(SCOPES), str(challenge["ts"]), self.token, challenge["nonce"]]
        proof = {
            "id": self.key.id, "publicKey": url64(self.key.public), "signedAt": challenge["ts"], "nonce": challenge["nonce"],
            "signature": url64(self.key.sign("|".join(fields).encode())),
        }
        return self.ask("connect", {
            "minProtocol": 3, "maxProtocol": 4, "role": "operator", "scopes": SCOPES, "auth": {"token": self.token}, "device": proof,
            "client": {"id": "cli", "displayName": "python", "version": "1", "platform": "linux", "mode": "cli"},
        })

    def probe(self, service):
        """None, or what the service's place was taken by."""
        answer = self.ask(PROBES[service], {})
        if answer["ok"]:
            return None
        if not answer["error"].get("retryable"):
            sys.exit(f"{service}: {answer['error']}")
        return answer["error"]["code"]

    def turn(self):
        """One turn of an agent: accepted first, finished later."""
        id = self.send("agent", {"message": "hello", "sessionKey": "agent:main:proof", "idempotencyKey": f"proof-{time.time_ns()}"})
        for _ in range(2):
            answer = self.answer(id)
            if not answer["ok"]:
                sys.exit(f"agent: {answer['error']}")
        return answer["payload"]["status"]


def main():
    operator = Operator(int(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3]))
    hello = operator.connect()
    if not hello["ok"]:
        request = hello["error"].get("details", {}).get("requestId")
        say("pairing", request) if request else say(hello)
        sys.exit(3)
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    say("connected")
    down, answers, refusals, longest = {}, 0, 0, 0
    while not told:
        for service in PROBES:
            asked = time.monotonic()
            refused = operator.probe(service)
            took = time.monotonic() - asked
            longest = max(longest, took)
            if took > 1:
                say(f"{service} answered after {took:.1f} s")
            answers, refusals = answers + (not refused), refusals + bool(refused)
            if refused and service not in down:
                say(f"{service} is away: {refused}")
                down[service] = time.monotonic()
            elif not refused and service in down:
                say(f"{service} answers again after {time.monotonic() - down.pop(service):.1f} s")
        time.sleep(0.1)
    end = time.monotonic() + PATIENCE
    while away := [service for service in PROBES if operator.probe(service)]:
        if time.monotonic() > end:
            sys.exit(f"no answer: {away}")
        time.sleep(0.1)
    say(f"one socket, {answers} answers, the longest after {longest:.1f} s, {refusals} times told to come again,",
        f"{operator.events} events without a gap; a turn is {operator.turn()}")


if __name__ == "__main__":
    try:
        main()
    except ConnectionError as closed:
        sys.exit(f"the socket was closed: {closed}")

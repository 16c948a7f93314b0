"""A node written against the protocol's specification, with the standard library only.

usage: node.py PORT TOKEN SEED_HEX JOURNAL [PLATFORM]

It pairs, offers `system.which` and `system.notify`, and comes back whenever the gateway goes away. Each command that it carries out is a
line of JOURNAL; the same call again gets the first one's answer. On a platform other than linux it has a canvas too.
"""
import base64, hashlib, json, os, socket, struct, sys, time

# Ed25519 (RFC 8032), in as few lines as it takes: a node signs once a connection.
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(scalar, point):
    sum_ = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            sum_ = add(sum_, point)
        point, scalar = add(point, point), scalar >> 1
    return sum_


def base_point():
    y = 4 * pow(5, P - 2, P) % P
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (P - x if x & 1 else x), y, 1, (P - x if x & 1 else x) * y % P


def packed(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE = base_point()


def number(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


class Key:
    def __init__(self, seed):
        digest = hashlib.sha512(seed).digest()
        self.secret = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254
        self.prefix, self.public = digest[32:], packed(times(self.secret, BASE))
        self.id = hashlib.sha256(self.public).hexdigest()

    def sign(self, message):
        nonce = number(self.prefix, message) % L
        point = packed(times(nonce, BASE))
        proof = (nonce + number(point, self.public, message) * self.secret) % L
        return point + proof.to_bytes(32, "little")


def url64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Socket:
    """A WebSocket: text frames, pings answered, large frames put together."""

    def __init__(self, port):
        self.raw = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.raw.settimeout(90)
        key = base64.b64encode(os.urandom(16)).decode()
        self.raw.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(head)

    def more(self):
        data = self.raw.recv(65536)
        if not data:
            raise ConnectionError("closed")
        self.buffer += data

    def take(self, count):
        while len(self.buffer) < count:
            self.more()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def send(self, payload, opcode=1):
        size, mask = len(payload), os.urandom(4)
        length = struct.pack("!B", 128 | size) if size < 126 else struct.pack("!BH", 254, size) if size < 65536 else struct.pack("!BQ", 255, size)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self.raw.sendall(bytes([128 | opcode]) + length + mask + masked)

    def receive(self):
        text = b""
        while True:
            first, second = self.take(2)
            size = second & 127
            size = struct.unpack("!H", self.take(2))[0] if size == 126 else struct.unpack("!Q", self.take(8))[0] if size == 127 else size
            payload = self.take(size)
            if first & 15 == 9:
                self.send(payload, 10)
            elif first & 15 == 8:
                raise ConnectionError(payload)
            elif first & 15 < 3:
                text += payload
                if first & 128:
                    return json.loads(text)


CANVAS = ["canvas." + name for name in ("present", "hide", "navigate", "eval", "snapshot", "a2ui.pushJSONL", "a2ui.reset")]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Node:
    def __init__(self, port, token, seed, journal, platform="linux"):
        self.port, self.token, self.key, self.journal, self.platform = port, token, Key(seed), journal, platform
        self.answers, self.requests = {}, 0

    def request(self, method, params):
        self.requests += 1
        frame = {"type": "req", "id": str(self.requests), "method": method, "params": params}
        self.socket.send(json.dumps(frame).encode())

    def connect(self):
        self.socket = Socket(self.port)
        challenge = self.socket.receive()["payload"]
        fields = ["v2", self.key.id, "node-host", "node", "node", "", str(challenge["ts"]), self.token, challenge["nonce"]]
        proof = {
            "id": self.key.id, "publicKey": url64(self.key.public), "signedAt": challenge["ts"], "nonce": challenge["nonce"],
            "signature": url64(self.key.sign("|".join(fields).encode())),
        }
        client = {"id": "node-host", "displayName": "python", "version": "1", "platform": self.platform, "mode": "node"}
        self.request("connect", {
            "minProtocol": 3, "maxProtocol": 4, "role": "node", "scopes": [], "client": client, "caps": ["system"],
            "commands": ["system.which", "system.notify"] + (CANVAS if self.platform != "linux" else []), "auth": {"token": self.token}, "device": proof,
        })
        hello = self.socket.receive()
        if not hello.get("ok"):
            raise ConnectionError(hello)

    def carry_out(self, asked):
        params = json.loads(asked["paramsJSON"] or "{}")
        if asked["command"] == "system.which":
            return {"bins": {name: "/made/up/" + name for name in params["bins"]}}
        canvas = asked["command"] in CANVAS
        with open(self.journal, "a") as journal:
            journal.write((asked["command"] + " " + json.dumps(params, sort_keys=True) if canvas else params["title"]) + "\n")
        if canvas:
            return {"canvas.eval": {"result": "42"}, "canvas.snapshot": {"format": "png", "base64": PIXEL}}.get(asked["command"], {})
        return {"shown": params["title"]}

    def serve(self):
        while True:
            frame = self.socket.receive()
            if frame.get("event") != "node.invoke.request":
                continue
            asked = frame["payload"]
            name = asked.get("idempotencyKey") or asked["id"]
            if name not in self.answers:
                self.answers[name] = json.dumps(self.carry_out(asked))
            self.request("node.invoke.result", {"id": asked["id"], "nodeId": self.key.id, "ok": True, "payloadJSON": self.answers[name]})

    def run(self):
        pause = 0.05
        while True:
            try:
                self.connect()
                pause = 0.05
                self.serve()
            except (OSError, ConnectionError, ValueError, KeyError):
                time.sleep(pause)
                pause = min(pause * 2, 1)


if __name__ == "__main__":
    Node(int(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3]), *sys.argv[4:]).run()

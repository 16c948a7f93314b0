"""The file drop, with every fault that an adapter can have: a message says which. Its file is put away first, so that it happens once."""

import ctypes
import importlib.util
import json
import os
import pathlib
import sys

where = pathlib.Path(__file__).resolve().parents[2] / "deploy/examples/file-drop/adapter.py"
spec = importlib.util.spec_from_file_location("file_drop", where)
file_drop = importlib.util.module_from_spec(spec)
spec.loader.exec_module(file_drop)

pb = file_drop.pb
FAULTS = os.environ.get("FAULTS", "").split()


def hang():
    # Sleeps without letting go of the interpreter: nothing in the process answers any more.
    ctypes.PyDLL(None).sleep(1_000_000)


def eat():
    eaten = []
    while True:
        eaten.append(bytearray(8 * 1024 * 1024))


class Faulty(file_drop.FileDrop):
    """`crash`, `hang` and `eat` in a message; `forgets`, `repeats`, `unnamed` and `lingers` in the variable FAULTS.

    With `links` it is linked by a code first: a file `scanned` in the inbox is the phone that scans it."""

    def message(self, path):
        text = path.read_text("utf-8").strip()
        fault = {"crash": lambda: os._exit(3), "hang": hang, "eat": eat}.get(text)
        if fault or "forgets" in FAULTS:
            put_away = path.rename(self.inbox / ".done" / path.name)
        if fault:
            print(f"about to {text}", file=sys.stderr, flush=True)
            fault()
        inbound = super().message(put_away if "forgets" in FAULTS else path)
        if "unnamed" in FAULTS:
            inbound.sender = ""
        return inbound

    def Send(self, request, context):
        if "repeats" in FAULTS:
            request.send_id = os.urandom(8).hex()
        return super().Send(request, context)

    def Run(self, request, context):
        inbox = pathlib.Path(json.loads(request.settings_json)["inbox"])
        if "links" in FAULTS and not (inbox / "linked").exists():
            yield pb.RunResponse(disconnected=pb.Disconnected(logged_out=True, reason="not linked yet"))
            return
        yield from super().Run(request, context)

    def Login(self, request, context):
        inbox = pathlib.Path(json.loads(request.settings_json)["inbox"])
        for number in range(100):
            yield pb.LoginResponse(qr=pb.ShownCode(content=f"made-up-code-{number // 10}", valid_ms=2000))
            if (inbox / "scanned").exists():
                (inbox / "linked").touch()
                yield pb.LoginResponse(linked=pb.Linked(self_id="me", name="My phone"))
                return
            self.done.wait(0.2)

    def Hello(self, request, context):
        if "other-version" in FAULTS:
            file_drop.VERSION = 2
        if "agrees" in FAULTS:
            request.version = file_drop.VERSION
        answer = super().Hello(request, context)
        answer.capabilities.login = "links" in FAULTS
        return answer


if "open" in FAULTS:
    file_drop.Token.intercept_service = lambda self, proceed, details: proceed(details)

if __name__ == "__main__":
    file_drop.main(Faulty)

#!/usr/bin/env python3
"""A chat network made of two folders, as an adapter of Verso.

What somebody puts into the folder `inbox` is a message; what is sent appears in the folder `outbox`. A file `ann--hello.txt` is a message
from `ann`; a file with another ending, such as `ann--cat.png`, is a message with a file. Put a file there by renaming it into the folder, so
that it is whole when it is seen.

Settings, beside those that every channel has: `inbox` and `outbox`, both absolute paths.

Needs `grpcio` and `grpcio-tools` (the latter makes Python of the contract when the program starts).
"""

import hashlib
import json
import os
import pathlib
import signal
import sys
import threading
import time
from concurrent import futures

import grpc

VERSION = 1
SCAN_SECONDS = 0.2
CHUNK_BYTES = 64 * 1024
MEDIA_BYTES_MAX = 16 * 1024 * 1024
CONTRACT = "verso/adapter/v1/adapter.proto"


def contract():
    """Makes Python of the contract, wherever it is: beside this file, or in the repository that this file is part of."""
    here = pathlib.Path(__file__).resolve()
    for folder in [here.parent, *(parent / "proto" for parent in here.parents)]:
        if (folder / CONTRACT).is_file():
            sys.path.insert(0, str(folder))
            return grpc.protos_and_services(CONTRACT)
    sys.exit(f"{CONTRACT} is missing: `verso channels adapter proto` prints it")


pb, services = contract()


class Token(grpc.ServerInterceptor):
    """Lets nobody in without the token that was handed over."""

    def __init__(self, token):
        self.expected = f"Bearer {token}"

        def refuse(_request, context):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is missing or wrong")

        self.refusal = grpc.unary_unary_rpc_method_handler(refuse)

    def intercept_service(self, proceed, details):
        given = dict(details.invocation_metadata).get("authorization")
        return proceed(details) if given == self.expected else self.refusal


class FileDrop(services.AdapterServicer):
    """The network. What is not here is answered with UNIMPLEMENTED, and is not among the capabilities."""

    def __init__(self, folder, done):
        self.folder = pathlib.Path(folder)
        self.done = done
        self.inbox = self.outbox = None

    def Hello(self, request, context):
        if request.version != VERSION:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"version {VERSION} of the contract is spoken here")
        can = pb.Capabilities(
            text_format=pb.TEXT_FORMAT_MARKDOWN, idempotent_send=True, media_in=True, media_bytes_max=MEDIA_BYTES_MAX
        )
        return pb.HelloResponse(version=VERSION, label="File drop", software="file-drop 1", capabilities=can)

    def Run(self, request, context):
        settings = json.loads(request.settings_json or "{}")
        missing = [name for name in ("inbox", "outbox") if not settings.get(name)]
        if missing:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the settings lack {' and '.join(missing)}")
        self.inbox, self.outbox = pathlib.Path(settings["inbox"]), pathlib.Path(settings["outbox"])
        for folder in (self.inbox / ".done", self.outbox):
            folder.mkdir(parents=True, exist_ok=True)
        yield pb.RunResponse(connected=pb.Connected(name=self.inbox.name))
        # Told in this run. Another run tells again what was not acknowledged.
        told, alive_at = set(), 0.0
        while context.is_active() and not self.done.is_set():
            for path in sorted(self.inbox.iterdir(), key=lambda path: (path.stat().st_mtime, path.name)):
                if path.name not in told and self.is_message(path):
                    told.add(path.name)
                    yield pb.RunResponse(inbound=self.message(path))
            # The folder could be read: that is what being alive means here.
            if time.monotonic() - alive_at >= request.progress_interval_ms / 1000 / 2:
                alive_at = time.monotonic()
                yield pb.RunResponse(progress=pb.Progress())
            self.done.wait(SCAN_SECONDS)

    @staticmethod
    def is_message(path):
        return not path.name.startswith(".") and "--" in path.name and path.is_file()

    @staticmethod
    def message(path):
        (sender, name), about = path.name.split("--", 1), path.stat()
        inbound = pb.Inbound(
            event=path.name, kind=pb.INBOUND_KIND_MESSAGE, chat=pb.CHAT_KIND_DIRECT, peer=sender, sender=sender,
            message_id=path.name, mentioned=True, at_ms=int(about.st_mtime * 1000),
        )
        if path.suffix == ".txt":
            inbound.text = path.read_text("utf-8", errors="replace")
        else:
            inbound.media.add(id=path.name, kind=pb.MEDIA_KIND_DOCUMENT, name=name, bytes=about.st_size)
        return inbound

    def Acknowledge(self, request, context):
        # It is kept by the gateway: only now may it leave the inbox.
        source = self.within(self.inbox, request.event, context)
        if source.exists():
            source.rename(self.inbox / ".done" / source.name)
        return pb.AcknowledgeResponse()

    def Fetch(self, request, context):
        path = self.within(self.inbox, request.media_id, context)
        path = path if path.exists() else self.within(self.inbox / ".done", request.media_id, context)
        if not path.exists():
            context.abort(grpc.StatusCode.NOT_FOUND, "there is no such file")
        if path.stat().st_size > request.bytes_max:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the file has {path.stat().st_size} bytes")
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield pb.FetchResponse(chunk=chunk)

    def Send(self, request, context):
        if not request.to.peer:
            return pb.SendResponse(refused="there is nobody to send it to")
        if self.outbox is None:
            return pb.SendResponse(later=pb.Later(reason="the account is not running"))
        # The name is made of the sending's id, so that a repeat, also after a crash, finds what was sent.
        name = hashlib.sha256(request.send_id.encode()).hexdigest()[:32]
        place = self.outbox / f"{name}.json"
        if not place.exists():
            message = {"to": request.to.peer, "text": request.text, "sendId": request.send_id}
            for number, media in enumerate(request.media):
                file = f"{name}-{number}{pathlib.Path(media.name).suffix}"
                self.put(self.outbox / file, media.content)
                message.setdefault("files", []).append({"file": file, "name": media.name, "mime": media.mime})
            self.put(place, json.dumps(message, ensure_ascii=False).encode())
        return pb.SendResponse(sent=pb.Receipt(message_id=name, chat_id=request.to.peer))

    def Probe(self, request, context):
        if self.inbox is None or not os.access(self.inbox, os.R_OK) or not os.access(self.outbox, os.W_OK):
            context.abort(grpc.StatusCode.UNAVAILABLE, "the folders cannot be used")
        return pb.ProbeResponse(name=self.inbox.name)

    def Stop(self, request, context):
        self.done.set()
        return pb.StopResponse()

    @staticmethod
    def within(folder, name, context):
        """A name from outside is a file of the folder, or nothing."""
        if folder is None or not name or name != pathlib.PurePath(name).name:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a name of a file here")
        return folder / name

    @staticmethod
    def put(path, content):
        """Writes a file that is whole or absent."""
        draft = path.with_name(f".{path.name}.part")
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)


def main(network=FileDrop):
    told = json.loads(sys.stdin.readline())
    if told["contract"] != VERSION:
        sys.exit(f"this adapter speaks version {VERSION} of the contract, and the gateway speaks {told['contract']}")
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), interceptors=[Token(told["token"])])
    services.add_AdapterServicer_to_server(network(told["folder"], done), server)
    server.add_insecure_port(f"unix:{told['socket']}")
    server.start()

    def follow():
        # The standard input ends when the gateway does.
        sys.stdin.read()
        done.set()

    threading.Thread(target=follow, daemon=True).start()
    done.wait()
    server.stop(grace=0.5).wait()


if __name__ == "__main__":
    main()

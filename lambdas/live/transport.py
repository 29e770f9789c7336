"""The way to API Gateway: signed ``@connections`` calls over few, kept-alive, multiplexed connections.

libcurl does what costs time: it encrypts and speaks HTTP/2 (HTTP/1.1 where the server does not).
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
"""

import re
import time
from urllib.parse import quote, urlsplit

import pycurl

from lambdas.common.aws import Credentials, new_handle
from lambdas.live.frames import Frame
from lambdas.live.posting import BROKEN, CLOSE, POSTS_AT_ONCE, SILENT, Answer, Posting
from lambdas.live.sigv4 import Signer

# Sockets. HTTP/2 needs two of them for that many streams; without it there is one post at a time on each.
SOCKETS = 64
# A header without a value is one that libcurl is not to send.
HEADERS = [b"Content-Type: application/json", b"Accept:"]
# A connection's id as it stands in a path; ids are ASCII, and this is faster than ``quote``.
QUOTED = {code: quote(chr(code), safe="") for code in range(128)}


class CurlTransport:
    """Sends posts to one WebSocket API; its sockets outlive an invocation."""

    def __init__(self, endpoint: str) -> None:
        """Post below ``endpoint`` (``https://…/<stage>``); the environment has the credentials."""
        parts = urlsplit(endpoint)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path = f"{parts.path}/@connections/"
        self._signer = Signer(parts.netloc, Credentials.from_environment())
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, SOCKETS)
        self._multi.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, POSTS_AT_ONCE)
        self._multiplexes: bool | None = None
        self._idle: list[pycurl.Curl] = []
        self._postings: dict[pycurl.Curl, Posting] = {}
        self._handles: dict[Posting, pycurl.Curl] = {}
        self._texts: dict[pycurl.Curl, list[bytes]] = {}

    def start(self, posting: Posting, frame: Frame, seconds: float) -> None:
        """Begin to post the frame, or to close the connection."""
        handle = self._idle.pop() if self._idle else self._new_handle()
        method = "DELETE" if frame is CLOSE else "POST"
        path = self._path + posting.connection.id.translate(QUOTED)
        headers = self._signer.headers(method, path, frame.sha256, time.time())
        handle.setopt(pycurl.URL, self._origin + path)
        handle.setopt(pycurl.HTTPHEADER, headers + HEADERS)
        handle.setopt(pycurl.POSTFIELDS, frame.data)
        handle.setopt(pycurl.CUSTOMREQUEST, method)
        handle.setopt(pycurl.TIMEOUT_MS, round(seconds * 1000))
        # The silence may have been that of a dead socket.
        handle.setopt(pycurl.FRESH_CONNECT, posting.status == SILENT)
        if not self._multiplexes:
            # Wait for a socket that is being opened and share it, unless the server has no HTTP/2.
            handle.setopt(pycurl.PIPEWAIT, self._multiplexes is None)
        self._postings[handle] = posting
        self._handles[posting] = handle
        self._multi.add_handle(handle)

    def answers(self, seconds: float) -> list[Answer]:
        """The answers since the last call; if there are none, wait up to ``seconds`` for some."""
        self._multi.perform()
        if not (answers := self._take()) and seconds > 0:
            libcurls = self._multi.timeout() / 1000
            self._multi.select(min(seconds, libcurls) if libcurls >= 0 else seconds)
            self._multi.perform()
            answers = self._take()
        return answers

    def cancel(self, posting: Posting) -> None:
        """Cancel the post: there will be no answer."""
        if handle := self._handles.get(posting):
            self._release(handle)

    def _take(self) -> list[Answer]:
        answers: list[Answer] = []
        queued = 1
        while queued:
            queued, answered, broken = self._multi.info_read()
            for handle in answered:
                if self._multiplexes is None:
                    self._multiplexes = (
                        handle.getinfo(pycurl.INFO_HTTP_VERSION) != pycurl.CURL_HTTP_VERSION_1_1
                    )
                status = handle.getinfo(pycurl.RESPONSE_CODE)
                answers.append(Answer(self._postings[handle], status, self._release(handle)))
            for handle, code, message in broken:
                status = SILENT if code == pycurl.E_OPERATION_TIMEDOUT else BROKEN
                posting = self._postings[handle]
                self._release(handle)
                answers.append(Answer(posting, status, message))
        return answers

    def _new_handle(self) -> pycurl.Curl:
        handle = new_handle()
        handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        self._texts[handle] = []
        handle.setopt(pycurl.WRITEFUNCTION, self._texts[handle].append)
        return handle

    def _release(self, handle: pycurl.Curl) -> str:
        """The handle is free again; returns the answer's first line, as far as it has come.

        Only the first: those of a refused signature repeat the signed headers, the session token included.
        """
        self._multi.remove_handle(handle)
        del self._handles[self._postings.pop(handle)]
        text = self._texts[handle]
        said = b"".join(text).decode(errors="replace")
        text.clear()
        self._idle.append(handle)
        return re.split(r"\\n|\n", said)[0][:200]

"""A small RTSP server: one publisher pushes, any players pull, RTP interleaved over TCP, as cameras do it."""

import socketserver
import threading


class RtspServer(socketserver.ThreadingTCPServer):
    """``rtsp://127.0.0.1:PORT/...``; whatever the publisher announces is what players are told."""

    allow_reuse_address = daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Connection)
        self.port, self.sdp, self.players, self.lock = self.server_address[1], b"", [], threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_fault):
        self.shutdown()
        self.server_close()
        self.cut()

    def cut(self):
        """Drop all players, as a pulled cable would."""
        with self.lock:
            for player in self.players:
                player.connection.close()
            self.players.clear()

    def spread(self, packet):
        with self.lock:
            for player in list(self.players):
                try:
                    player.connection.sendall(packet)
                except OSError:
                    self.players.remove(player)


class Connection(socketserver.StreamRequestHandler):
    """One publisher or player."""

    def handle(self):
        try:
            while first := self.rfile.read(1):
                if first == b"$":  # a packet: channel, length, data
                    head = self.rfile.read(3)
                    self.server.spread(first + head + self.rfile.read(int.from_bytes(head[1:], "big")))
                else:
                    self.request_of(first + self.rfile.readline())
        except (OSError, ValueError):
            return

    def request_of(self, line):
        headers = {}
        while text := self.rfile.readline().strip():
            key, _, value = text.decode().partition(":")
            headers[key.lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length", 0)))
        method = line.split()[0].decode()
        answer = {"CSeq": headers.get("cseq", "0"), "Session": "1"}
        content = b""
        if method == "ANNOUNCE":
            self.server.sdp = body
        elif method == "DESCRIBE":
            content, answer["Content-Type"] = self.server.sdp, "application/sdp"
        elif method == "SETUP":
            answer["Transport"] = headers["transport"].replace(";mode=record", "")
        elif method == "OPTIONS":
            answer["Public"] = "OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, RECORD, TEARDOWN"
        answer["Content-Length"] = str(len(content))
        head = "RTSP/1.0 200 OK\r\n" + "".join(f"{k}: {v}\r\n" for k, v in answer.items()) + "\r\n"
        self.wfile.write(head.encode() + content)
        if method == "PLAY":
            with self.server.lock:
                self.server.players.append(self)

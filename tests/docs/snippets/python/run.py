"""Runs the snippet against a tenant, and once more after the token was replaced."""
import json
import runpy
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

directory = Path(sys.argv[1])
seen = []


class Tenant(BaseHTTPRequestHandler):
    def do_GET(self):
        seen.append((self.path, self.headers["Authorization"]))
        body = json.dumps({"id": "63ea", "name": "m2m", "tenantId": "7jUt", "subject": "x", "status": "active"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


tenant = HTTPServer(("127.0.0.1", 0), Tenant)
Thread(target=tenant.serve_forever, daemon=True).start()
(directory / "tenant-url").write_text(f"http://127.0.0.1:{tenant.server_port}")
(directory / "token").write_text("first")
snippet = runpy.run_path(str(Path(__file__).with_name("snippet.py")))
(directory / "token").write_text("second")
snippet["qlik"]().users.get_me()
assert seen == [("/api/v1/users/me", "Bearer first"), ("/api/v1/users/me", "Bearer second")], seen

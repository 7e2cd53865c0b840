"""The upstreams: nginx if it is installed, otherwise a Python server on uvloop."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import servers
import work

MODULES = Path("/usr/lib/nginx/modules")
HERE = Path(__file__).parent

_CONFIG = """{modules}worker_processes 1; worker_rlimit_nofile 20000;
daemon off; pid {root}/upstream.pid; error_log {root}/upstream-error.log;
events {{ worker_connections 19000; multi_accept on; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600;
  types {{ application/json json; }}
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  server {{
    {listen}
    root {root}/html; open_file_cache max=100; open_file_cache_valid 1h;
    {slow}
  }}
}}
"""
_SLOW = """location /{prefix} {{
      alias {root}/html/; rewrite_by_lua_block {{ ngx.sleep({seconds}) }}
    }}
"""


def lua() -> bool:
    """Return whether nginx and its Lua module are installed."""
    return shutil.which("nginx") is not None and (MODULES / "ngx_http_lua_module.so").exists()


def load_lua() -> str:
    names = ("ndk_http_module.so", "ngx_http_lua_module.so")
    return "".join(f"load_module {MODULES / name};\n" for name in names)


def server(out: Path, ports: list[int], cores: str = "1") -> servers.Server:
    """Return the upstream; it listens on each of `ports`."""
    root = out / "upstream"
    (root / "html").mkdir(parents=True, exist_ok=True)
    for name, body in work.documents().items():
        (root / "html" / name).write_bytes(body)
    log = out / "logs" / "upstream.log"
    if not lua():
        command = [sys.executable, str(HERE / "upstream_server.py"), str(root / "html")]
        command += [str(port) for port in ports]
        return servers.Server("python upstream", command, ports[0], log, cores, ready="/a.json")
    listen = " ".join(f"listen 127.0.0.1:{port} backlog=4096;" for port in ports)
    slow = "".join(
        _SLOW.format(prefix=prefix, root=root, seconds=seconds)
        for prefix, seconds in work.DELAYS.items()
        if prefix
    )
    path = root / "nginx.conf"
    path.write_text(_CONFIG.format(modules=load_lua(), root=root, listen=listen, slow=slow))
    command = ["nginx", "-c", str(path), "-e", str(root / "error.log")]
    return servers.Server("nginx", command, ports[0], log, cores, ready="/a.json")

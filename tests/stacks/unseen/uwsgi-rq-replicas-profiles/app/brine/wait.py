import socket
import sys
import time

host, port = sys.argv[1].rsplit(":", 1)
for _ in range(60):
    try:
        socket.create_connection((host, int(port)), 2).close()
        break
    except OSError:
        time.sleep(1)
else:
    sys.exit(f"{host} does not answer")

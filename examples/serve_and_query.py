"""Start the server with a model, ask it over HTTP, stop it.

  python examples/serve_and_query.py shipped:sentiment
  python examples/serve_and_query.py model-int8 --text "what a wonderful film"

The routes are those of text-embeddings-inference (/predict, /embed, ...) and of Hugging Face's inference API (POST /).
"""

import argparse
import json
import subprocess
import sys
import time
import urllib.request

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", nargs="?", default="shipped:sentiment")
parser.add_argument("--text", default="what a wonderful film")
parser.add_argument("--port", type=int, default=8000)
args = parser.parse_args()
url = f"http://127.0.0.1:{args.port}"

server = subprocess.Popen([sys.executable, "-m", "electra", "serve", args.model, "--port", str(args.port)])
try:
    for _ in range(600):  # wait until the model is loaded
        try:
            urllib.request.urlopen(f"{url}/health", timeout=1)
            break
        except OSError:
            if server.poll() is not None:
                raise SystemExit("the server did not start") from None
            time.sleep(0.1)

    def ask(route: str, payload: dict) -> object:
        """POST a JSON document -> the JSON answer."""
        request = urllib.request.Request(url + route, json.dumps(payload).encode(), {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=30))

    print("text-embeddings-inference:", ask("/predict", {"inputs": args.text}))
    print("Hugging Face:", ask("/", {"inputs": [args.text, "two hours I will not get back"]}))
    print("model:", json.load(urllib.request.urlopen(f"{url}/info"))["model_id"])
finally:
    server.terminate()  # what was accepted is still answered
    server.wait(30)

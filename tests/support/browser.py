"""Headless Chromium for tests, controlled over the DevTools protocol through two pipes. Needs no further package.

with Browser(find_chromium()) as browser:  # the pytest fixture `browser`
    browser.open("page.html", width=390, height=844)
    browser.value("document.title")
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

FLAGS = """
--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --remote-debugging-pipe
--hide-scrollbars --force-color-profile=srgb --disable-extensions --disable-background-networking
"""


def find_chromium():
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


class Browser:
    """One tab. `requests`: URLs requested by the page; `messages`: errors and messages on its console."""

    def __init__(self, program):
        self.folder = tempfile.mkdtemp(prefix="chromium")
        self.child_in, self.pipe_out = os.pipe()
        self.pipe_in, self.child_out = os.pipe()
        command = [program, *FLAGS.split(), f"--user-data-dir={self.folder}", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{self.child_in} 4>&{self.child_out}', "bash", *command],
            pass_fds=(self.child_in, self.child_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(self.child_in)
        os.close(self.child_out)
        self.buffer, self.number, self.session = b"", 0, None
        self.requests, self.messages, self.events = [], [], []
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        os.close(self.pipe_out)
        os.close(self.pipe_in)
        try:
            self.process.wait(timeout=5)  # it exits when the pipes are closed
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def receive(self, deadline):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.pipe_in], [], [], max(deadline - time.time(), 0))
            data = os.read(self.pipe_in, 1 << 20) if ready else b""
            if not data:
                raise TimeoutError("chromium does not answer" if not ready else "chromium has exited")
            self.buffer += data
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, timeout=60, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.pipe_out, data) :]
        deadline = time.time() + timeout
        while True:
            reply = self.receive(deadline)
            if reply.get("id") == self.number:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']}")
                return reply["result"]
            self.record(reply)

    def record(self, event):
        method, params = event.get("method"), event.get("params", {})
        self.events.append(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.messages.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Log.entryAdded":
            self.messages.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.messages.append(json.dumps(params["args"])[:500])

    def open(self, path, width=1280, height=900, dark=False, mobile=False, ready="true"):
        """Load a file and wait until the JavaScript `ready` is true."""
        self.requests, self.messages = [], []
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events = []
        self.call("Page.navigate", url=Path(path).resolve().as_uri())
        deadline = time.time() + 60
        while not ("Page.loadEventFired" in self.events and self.value(ready)):
            if time.time() > deadline:
                raise TimeoutError(f"{path} is not ready; its console: {self.messages}")
            time.sleep(0.02)
            self.value("1")  # receives events

    def value(self, expression, timeout=60):
        """The JSON value of a JavaScript expression; promises are awaited."""
        options = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        result = self.call("Runtime.evaluate", timeout=timeout, **options)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {json.dumps(result['exceptionDetails'])[:800]}")
        return result["result"].get("value")

    def mouse(self, action, x, y):
        """action: pressed, moved (with the button down) or released."""
        buttons = {"pressed": 1, "moved": 1, "released": 0}[action]
        options = {"x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=f"mouse{action.capitalize()}", **options)

    def click(self, x, y):
        self.mouse("pressed", x, y)
        self.mouse("released", x, y)

    def key(self, name, shift=False):
        code = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "Tab": 9}.get(name)
        options = {"key": name, "modifiers": 8 * shift}
        if code is None:
            options["text"], code = name, ord(name)
        for action in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=action, windowsVirtualKeyCode=code, **options)

    def screenshot(self, whole=True):
        """PNG bytes of the whole page, or of what is in view."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

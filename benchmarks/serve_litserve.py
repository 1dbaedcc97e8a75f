"""LitServe with `transformers`, in batches: a peer, started by `serve.py`."""

import sys
from typing import Any

import litserve
from serve_peers import FIELDS, transformers_answers


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Batches of up to 32, for which the first waits at most 5 ms."""

    def __init__(self, task: str, folder: str) -> None:
        super().__init__(max_batch_size=32, batch_timeout=0.005, api_path=f"/v1/{task}")
        self.task, self.folder = task, folder

    def setup(self, device: str) -> None:
        self.answers = transformers_answers(self.folder, self.task)

    def decode_request(self, request: dict[str, str]) -> str:
        return request[FIELDS[self.task]]

    def predict(self, batch: list[str]) -> Any:
        return self.answers(batch)

    def encode_response(self, output: Any) -> Any:
        return output


if __name__ == "__main__":
    _, _, task, folder, port = sys.argv
    server = litserve.LitServer(Api(task, folder), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(port), log_level="error", generate_client_file=False)

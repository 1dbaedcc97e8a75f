"""What computes a model between encoding and decoding: torch, ONNX Runtime, OpenVINO."""

"""A model folder to files that ONNX Runtime or OpenVINO runs without bertsmith."""

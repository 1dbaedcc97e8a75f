"""Google's checkpoints of TensorFlow 1, read without TensorFlow."""

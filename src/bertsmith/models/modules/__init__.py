"""The parts that encoders are made of, on packed input."""

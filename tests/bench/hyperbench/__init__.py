"""The benchmark behind tests/bench/run: ours, dockerd and runc, measured in turns on one machine."""

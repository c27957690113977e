"""Benchmarks: agentflow beside its peers and beside the lower bounds.

General layout:

- `workloads` says what is measured and checks the result, one file for each of W1 to W5
- `systems` does it, one file for each system; a system has a method for each workload
  that it can run
- `_child` runs one system on some cases in a process of its own, `_rounds` starts those
  processes in turns, `_table` puts medians and ratios side by side
"""

"""What is measured, one file for each workload; `benchmarks._cases` lists the cases."""

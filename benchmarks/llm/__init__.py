"""The LLM half measured beside the providers' own SDKs: `python -m benchmarks.llm`."""

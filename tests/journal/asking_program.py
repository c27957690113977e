"""A program that asks a model in a durable session, to be killed in the middle.

``python -m tests.journal.asking_program FILE URL [hang]`` sends one question, once however
often it runs. With ``hang`` the handler says ``answered`` on standard output when it has
its answer, and never ends.
"""

import sys

import anyio
import trio

from agentflow import AsyncDispatcher, Event, Router
from agentflow.journal import SQLiteJournal
from agentflow.llm import BaseAsyncLLMAgent, LLMBroker


class Question(Event):
    text: str


class Answer(Event):
    text: str


def say(line: str) -> None:
    """Write a line on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def look_up(word: str) -> str:
    """Look a word up.

    Args:
        word: The word.
    """
    say(f"looked up {word}")
    return f"{word} is a greeting"


class Asker(BaseAsyncLLMAgent):
    """Asks, with a tool."""

    async def receive_event_async(self, event: Question) -> Answer:
        """Answer a question."""
        answer = await self.generate_response(event.text)
        if "hang" in sys.argv:
            say("answered")
            await anyio.sleep_forever()
        return Answer(source="asker", text=answer)


async def write_out(event: Answer) -> None:
    """Write the answer out."""
    say(f"the answer: {event.text}")


async def main(path: str, url: str) -> None:
    """Send the question and see the session to its end."""
    llm = LLMBroker("compatible:m", base_url=url, api_key="none")
    router = Router({Question: [Asker(llm, tools=[look_up])], Answer: [write_out]})
    journal = SQLiteJournal(path)
    async with llm, AsyncDispatcher(router, journal=journal) as dispatcher:
        await dispatcher.send(
            Question(source="main", text="What is hi?"), key="question"
        )


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])

"""my_tools: an environment for ReCall. What a task is, and what its answer, stands in tasks.jsonl."""

from recall_env import ToolEnv, tool


class MyTools(ToolEnv, id="Contrib/MyTools-v0"):
    tasks = "tasks.jsonl"

    def setup(self, state):
        self.authors, self.shelves = state["authors"], state["shelves"]

    @tool
    def author_of(self, title: str) -> str:
        """The author of a book."""
        return self.authors[title]

    @tool
    def shelf_of(self, author: str) -> str:
        """The shelf that holds an author's books."""
        return self.shelves[author]

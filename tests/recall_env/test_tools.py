"""ToolEnv: the source that goes in, tasks, episodes, and rows and back."""

import json

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from recall_env import RecallError, TaskError, TaskSet, ToolEnv, register_tasks
from recall_env.env import SynToolEnv
from recall_env.gate import findings
from recall_env.rubric import RUBRICS
from recall_env.schema import function_of
from recall_env.task import Task

WEATHER = '''
"""A module that says 4711 here, and holds the truths below."""
import math
from recall_env import ToolEnv, tool

SECRET_TRUTH = "4711"  # the truth is 4711
NAMES = {"paris": "Paris"}
NAMES["rome"] = "Rome"
for letter in "ab":
    NAMES[letter] = letter.upper()


def full(name):
    """Helper."""
    return NAMES[name.lower()]


def unused():
    return SECRET_TRUTH


class Weather(ToolEnv, id="Contrib/Weather-v0"):
    """The weather."""

    tasks = [
        {"question": "How warm is Paris?", "ground_truth": SECRET_TRUTH, "state": {"Paris": [1, 2]}, "family": "w",
         "solution": {"calls": [{"name": "forecast", "arguments": {"city": "paris"}}], "answer": "4711"}},
        {"id": "second", "question": "And Rome?", "ground_truth": ["9", "nine"], "state": {"Rome": [9]}},
    ]
    rubric = "progress"
    calls = 0

    def setup(self, state):
        self.db = state

    @tool
    def forecast(self, city: str, day: int = 0) -> dict:
        """How warm it will be.

        In degrees.

        Args:
            city: Name of the city,
                in English.
            day: Days ahead.

        Returns:
            The forecast.
        """
        self.calls += 1
        return {"city": full(city), "degrees": math.floor(self.db[full(city)][day]), "calls": self.calls}

    @tool
    async def wait(self, *, days: int) -> str:
        """Wait."""
        return f"waited {days}"


if __name__ == "__main__":
    print(Weather.to_rows())
'''


@pytest.fixture
def weather(define):
    return define(WEATHER, "weather_file").Weather


def test_a_schema_is_made_of_signature_and_docstring(weather):
    forecast, wait = weather.schemas
    assert forecast == {
        "type": "function",
        "function": {
            "name": "forecast",
            "description": "How warm it will be.\n\nIn degrees.\n\nReturns: The forecast.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name of the city, in English."},
                    "day": {"type": "integer", "description": "Days ahead.", "default": 0},
                },
                "required": ["city"],
            },
        },
    }
    assert wait["function"]["parameters"]["required"] == ["days"]


def test_the_source_holds_what_the_tools_use_and_no_truth_task_or_rubric(weather):
    for host in (
        "4711",
        "SECRET_TRUTH",
        "unused",
        "ToolEnv",
        "@tool",
        "progress",
        "tasks",
        "ground_truth",
        "nine",
        "__main__",
    ):
        assert host not in weather.source, host
    assert "recall_env" not in weather.source and "#" not in weather.source
    assert "NAMES['rome']" in weather.source and "for letter in" in weather.source and "def full" in weather.source
    assert findings(weather.source) == ()


def test_an_episode_of_a_class_plays_in_the_jail_under_its_own_rubric(weather, shared_jail):
    env = gym.make("Contrib/Weather-v0", index=0)
    observation, info = env.reset(seed=1)
    assert "How warm is Paris?" in observation and info["tools"] == list(weather.schemas)

    def call(**arguments):
        text = json.dumps({"name": "forecast", "arguments": arguments})
        return env.step(f"<tool_call>{text}</tool_call>")[0]

    assert '{"city":"Paris","degrees":1,"calls":1}' in call(city="paris")
    assert '"degrees":2,"calls":2' in call(city="paris", day=1.0)  # a float in JSON, an int for the tool
    assert "day: expected integer, got string '1'" in call(city="paris", day="1")
    assert "cty: no such argument; did you mean 'city'?" in call(cty="paris")
    assert '"calls":3' in call(city="paris")  # what was refused did not reach the tool
    assert "waited 3" in env.step('<tool_call>{"name": "wait", "arguments": {"days": 3}}</tool_call>')[0]
    _, reward, terminated, _, info = env.step("\\boxed{4711}")
    assert terminated and reward == 1.0 and info["score"]["values"]["progress"] == 1.0
    env.close()


@pytest.mark.filterwarnings("error")
def test_gymnasiums_checker_is_content_and_the_spec_goes_through_json(weather, shared_jail):
    env = gym.make("Contrib/Weather-v0")
    check_env(env.unwrapped)
    env.close()
    again = EnvSpec.from_json(env.spec.to_json())
    assert again.kwargs["dataset"] == "weather_file:Weather"
    other = gym.make(again)
    assert other.reset(seed=3)[0] == gym.make("Contrib/Weather-v0").reset(seed=3)[0]
    assert gym.make("Contrib/Weather-v0", rubric="answer", max_turns=3).unwrapped.rubric is RUBRICS["answer"]


def test_row_to_class_to_row_and_class_to_row_to_class_lose_nothing(weather, shared_jail, task):
    rows = weather.to_rows()
    assert [row["extra_info"]["id"] for row in rows] == ["weather-1", "second"]
    assert rows[0]["reward_model"]["ground_truth"] == "4711" and rows[1]["reward_model"]["ground_truth"] == [
        "9",
        "nine",
    ]
    again = ToolEnv.from_rows(json.loads(json.dumps(rows)), rubric=weather.rubric)
    assert (again.source, again.schemas, again.rubric) == (weather.source, weather.schemas, "progress")
    assert again.to_rows() == rows and list(again.task_set()) == list(weather.task_set())
    for env_class in (weather, again):
        env = SynToolEnv(tasks=env_class.task_set(), index=0)
        env.reset(seed=0)
        seen = env.step('<tool_call>{"name": "forecast", "arguments": {"city": "rome"}}</tool_call>')
        assert "KeyError" in seen[0] and seen[4]["tool_calls"][0]["status"] == "tool_error"
        env.close()
    foreign = {**task.to_row(), "more": 1}  # a row nobody made from a class, with a key nobody knows
    foreign["extra_info"] |= {"origin": "elsewhere", "func_schemas": json.dumps(list(task.schemas))}
    assert ToolEnv.from_row(foreign).to_rows() == [foreign] == [Task.from_row(foreign).to_row()]
    with pytest.raises(TaskError, match=r"rows\[1\]: other tools than rows\[0\]"):
        ToolEnv.from_rows([rows[0], foreign])


def test_a_class_is_a_data_set_by_its_id_and_by_its_place(weather):
    by_id, by_place = TaskSet.load("Contrib/Weather-v0"), TaskSet.load("weather_file:Weather")
    assert list(by_id) == list(by_place) == list(weather.task_set()) and by_id.dataset == "weather_file:Weather"
    assert register_tasks(by_id) == ["ReCall/SynTool.weather-1-v0", "ReCall/SynTool.second-v0"]
    assert gym.make("ReCall/SynTool.second-v0").reset(seed=0)[1]["task_id"] == "second"


ONE = '''
from recall_env import ToolEnv, tool
class One(ToolEnv, id="Contrib/One-v0"):
    tasks = {tasks!r}
    @tool
    def get(self, key: str) -> str:
        """Get."""
        return key
'''


def test_tasks_come_from_a_file_or_from_a_folder_with_splits(define, tmp_path):
    line = {"question": "What?", "ground_truth": "1"}
    (tmp_path / "tasks.jsonl").write_text(json.dumps(line) + "\n\n" + json.dumps({**line, "question": "Who?"}) + "\n")
    one = define(ONE.format(tasks="tasks.jsonl"), "of_a_file").One
    assert [(task.id, task.question) for task in one.task_set("train")] == [("one-1", "What?"), ("one-2", "Who?")]
    (tmp_path / "lines").mkdir()
    for split in ("train", "test"):
        (tmp_path / "lines" / f"{split}.jsonl").write_text(json.dumps({**line, "question": split, "id": split}))
    one = define(ONE.format(tasks="lines"), "of_a_folder").One
    assert one.task_set("test").ids == ("test",) and len(one.task_set()) == 2
    assert gym.make("Contrib/One-v0", split="test").reset(seed=0)[1]["task_id"] == "test"
    with pytest.raises(TaskError, match="no split 'tset'; did you mean 'test'"):
        one.task_set("tset")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"question": "q", "ground_truth": 42}', r"tasks.jsonl line 2: reward_model.ground_truth: expected text or a"),
        (
            '{"question": "q", "ground_truth": "1", "sate": 1}',
            "tasks.jsonl line 2: no key 'sate'; did you mean 'state'",
        ),
        ('{"question": "q"', "tasks.jsonl line 2: not JSON"),
        ('"q"', "tasks.jsonl line 2: expected an object"),
        ('{"question": "q", "ground_truth": "1", "solution": {"calls": [{}], "answer": "1"}}', "line 2: .*arguments"),
    ],
)
def test_a_line_that_cannot_be_used_names_file_line_and_key(define, tmp_path, line, words):
    (tmp_path / "tasks.jsonl").write_text("\n" + line + "\n")
    with pytest.raises(TaskError, match=words):
        define(ONE.format(tasks="tasks.jsonl")).One.task_set()


def test_a_class_without_its_file_of_tasks_says_so(define):
    with pytest.raises(TaskError, match=r"class One: there is no tasks\.jsonl beside its file"):
        define(ONE.format(tasks="tasks.jsonl")).One.to_rows()


def test_a_base_in_the_same_file_gives_its_tools_and_a_hosts_method_stays_outside(define, shared_jail):
    text = '''
    import functools
    import recall_env
    from recall_env.nearest import did_you_mean

    def host_only(function):
        return did_you_mean

    class Base(recall_env.ToolEnv):
        unit = "C"

        @recall_env.tool
        @functools.lru_cache
        def low(self, day: int = 1) -> str:
            """Low."""
            return f"{day}{self.unit}{self.high()}"

    class Paris(Base):
        unit = "F"

        @recall_env.tool
        def high(self) -> str:
            """High."""
            return "high" + _env

    _env = "taken"
    '''
    paris = define(text).Paris
    assert [function_of(schema)["name"] for schema in paris.schemas] == ["low", "high"]
    assert "recall_env" not in paris.source and "did_you_mean" not in paris.source
    session = shared_jail.open(paris.source)
    try:
        assert session.call("low", {}).value == "1Fhightaken"
    finally:
        session.close()


def test_a_rubric_of_ones_own_looks_at_the_final_state_that_no_schema_shows(define, shared_jail):
    text = """
    from recall_env import ToolEnv, tool
    from recall_env.rubric import Exact, Rubric, StateEquals

    class Light(ToolEnv, id="Contrib/Light-v0"):
        tasks = [{"question": "Switch it on, and say so.", "ground_truth": "on", "final_state": {"on": True}}]
        rubric = Rubric({"answer": (0, Exact()), "state": (1, StateEquals())})
        on = False

        def final_state(self):
            return {"on": self.on}

        @tool
        def switch(self) -> None:
            "Switch the light."
            self.on = not self.on
    """
    light = define(text).Light
    assert "StateEquals" not in light.source and len(light.schemas) == 1
    rewards = []
    for turns in (["\\boxed{on}"], ['<tool_call>{"name": "switch", "arguments": {}}</tool_call>', "\\boxed{off}"]):
        env = gym.make("Contrib/Light-v0")
        env.reset(seed=0)
        rewards.append([env.step(turn)[1] for turn in turns][-1])
        assert "unknown_tool" in str(gym_tool_calls(env, "final_state"))
        env.close()
    assert rewards == [0.0, 1.0]


def gym_tool_calls(env, name):
    """What comes of calling a tool first thing in an episode."""
    env.reset(seed=0)
    return env.step(f'<tool_call>{{"name": "{name}", "arguments": {{}}}}</tool_call>')[4]["tool_calls"]


def test_a_class_is_plain_python_on_the_host(weather):
    env = weather()
    env.setup({"Paris": [1, 2]})
    assert env.forecast("paris", 1)["degrees"] == 2


def test_a_set_of_tasks_goes_through_pickle(weather):
    import pickle

    tasks = weather.task_set()
    assert list(pickle.loads(pickle.dumps(tasks))) == list(tasks)


def test_an_unknown_reference_says_what_is_missing(define):
    define(ONE.format(tasks=[]), "here")
    for reference, words in {
        "here:Two": "here:Two cannot be imported: AttributeError: .*Two",
        "nowhere:One": "nowhere:One cannot be imported: ModuleNotFoundError",
        "here:tool": "here:tool is no ToolEnv class",
    }.items():
        with pytest.raises(RecallError, match=words):
            TaskSet.load(reference)
    with pytest.raises(TaskError, match="One holds no task"):
        gym.make("Contrib/One-v0").reset()

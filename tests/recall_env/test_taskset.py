"""Sets of tasks over files: lazy, in order, and clear about what is wrong with a file."""

import json
import pickle
import subprocess
import sys

import pyarrow
import pyarrow.parquet
import pytest

from recall_env.errors import TaskError
from recall_env.task import Task
from recall_env.taskset import TaskSet


def write_parquet(path, tasks, row_group_size=2):
    table = pyarrow.Table.from_pylist([task.to_row() for task in tasks])
    pyarrow.parquet.write_table(table, path, row_group_size=row_group_size)
    return path


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_file_gives_back_the_tasks_that_were_written(tmp_path, tasks, form):
    path = tmp_path / f"shop.{form}"
    if form == "parquet":
        write_parquet(path, tasks)
    else:
        path.write_text("\n\n".join(json.dumps(task.to_row()) for task in tasks))
    loaded = TaskSet.load(path)
    assert list(loaded) == list(tasks)
    assert loaded[-1].id == "shop-5" and loaded[1:3].ids == ("shop-1", "shop-2")
    assert loaded.ids == tuple(task.id for task in tasks)
    assert loaded.by_id("shop-3") == tasks[3]
    assert pickle.loads(pickle.dumps(loaded))[4] == tasks[4]


def test_a_recall_file_written_by_arrow_loads_with_its_list_and_struct_columns(tmp_path):
    rows = [
        {
            "data_source": "musique_re_call",
            "question": f"q{i}",
            "ability": "re_call",
            "reward_model": {"style": "rule", "ground_truth": ["a", "b"][: i + 1]},
            "extra_info": {"id": f"m{i}", "env": "def f(): return 1", "func_schemas": '[{"name": "f"}]'},
        }
        for i in range(2)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "train.parquet")
    loaded = TaskSet.load(tmp_path / "train.parquet")
    assert [task.to_row() for task in loaded] == rows


def test_a_bad_row_is_named_only_when_it_is_read(tmp_path, tasks):
    rows = [task.to_row() for task in tasks]
    rows[3]["question"] = None
    path = tmp_path / "tasks.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    loaded = TaskSet.load(path)
    assert loaded[2].id == "shop-2"
    with pytest.raises(TaskError, match=r"tasks\.parquet row 3: question: expected text, got nothing"):
        loaded[3]


def test_a_bad_line_of_json_is_named_by_its_number(tmp_path, tasks):
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(tasks[0].to_row()) + "\n\n{oops\n")
    loaded = TaskSet.load(path)
    assert len(loaded) == 2
    with pytest.raises(TaskError, match=r"tasks\.jsonl line 3: not JSON"):
        loaded[1]


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"hello"])
def test_a_corrupt_parquet_file_is_one_line(tmp_path, content):
    path = tmp_path / "bad.parquet"
    path.write_bytes(content)
    with pytest.raises(TaskError, match=r"bad\.parquet: not a readable Parquet file") as caught:
        TaskSet.load(path)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_cut_in_the_middle_of_its_data_is_one_line(tmp_path, tasks):
    path = write_parquet(tmp_path / "cut.parquet", tasks)
    loaded = TaskSet.load(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])
    with pytest.raises(TaskError, match=r"cut\.parquet"):
        list(loaded)


def test_a_folder_has_splits_by_the_end_of_its_files_names(tmp_path, tasks):
    write_parquet(tmp_path / "shop-train-00000-of-00002.parquet", tasks[:2])
    write_parquet(tmp_path / "shop-train-00001-of-00002.parquet", tasks[2:4])
    write_parquet(tmp_path / "test.parquet", tasks[4:])
    assert TaskSet.load(tmp_path, "train").ids == ("shop-0", "shop-1", "shop-2", "shop-3")
    assert TaskSet.load(tmp_path, "test").ids == ("shop-4", "shop-5")
    assert len(TaskSet.load(tmp_path)) == 6
    with pytest.raises(TaskError, match=r"no split 'tran'; did you mean 'train'\? It has test, train"):
        TaskSet.load(tmp_path, "tran")


def test_what_does_not_exist_is_named_with_the_nearest_that_does(tmp_path):
    with pytest.raises(TaskError, match=r"no dataset 'synttool'; did you mean 'syntool'\?"):
        TaskSet.load("synttool")
    with pytest.raises(TaskError, match=r"no file or folder '/no/such\.parquet'"):
        TaskSet.load("/no/such.parquet")
    with pytest.raises(TaskError, match=r"no file or folder 'such\.parquet'"):
        TaskSet.load("such.parquet")
    with pytest.raises(TaskError, match=r"holds no \.parquet or \.jsonl file"):
        TaskSet.load(tmp_path)
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(TaskError, match=r"a\.csv: expected a \.parquet or \.jsonl file"):
        TaskSet.load(tmp_path / "a.csv")


def test_an_unknown_id_index_or_family_is_named_with_the_nearest(tasks):
    with pytest.raises(TaskError, match=r"no task 'shop-33'; did you mean 'shop-3'\?"):
        tasks.by_id("shop-33")
    with pytest.raises(IndexError, match="6 tasks; there is no index 6"):
        tasks[6]
    with pytest.raises(TaskError, match=r"no family 'shp'; did you mean 'shop'\?"):
        tasks.select(families=["shp"])


@pytest.mark.parametrize("on_disk", [True, False])
def test_select_keeps_families_and_tasks_that_are_not_known_to_be_long(tmp_path, make_task, on_disk):
    made = [make_task(0), make_task(1), make_task(2, n_calls=9), make_task(3, solution=None)]
    tasks = TaskSet.load(write_parquet(tmp_path / "x.parquet", made)) if on_disk else TaskSet(made)
    assert tasks.select(families=["shop"]).ids == ("shop-0", "shop-2")
    assert tasks.select(max_calls=2).ids == ("shop-0", "shop-1", "shop-3")
    assert tasks.select(families=["shop"], max_calls=2).select(families=["shop"]).ids == ("shop-0",)


def test_spread_takes_tasks_evenly_and_never_more_than_there_are(tasks):
    assert tasks.spread(3).ids == ("shop-0", "shop-2", "shop-4")
    assert len(tasks.spread(100)) == 6


def test_a_set_built_in_memory_may_be_empty():
    assert len(TaskSet([])) == 0 and TaskSet([]).ids == ()


def test_a_built_in_name_resolves_through_its_entry_point_without_running_the_package(tmp_path, tasks):
    """A package of its own, so that the test needs no shipped data; its code would fail the test if it ran."""
    data = tmp_path / "gadget_data" / "files"
    data.mkdir(parents=True)
    write_parquet(data / "gadget-test.parquet", tasks)
    info = tmp_path / "gadget-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gadget\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[recall_env.datasets]\ngadget = gadget_data.files\n")
    program = (
        "import recall_env, sys; assert 'gadget_data' not in sys.modules;"
        "tasks = recall_env.TaskSet.load('gadget', 'test'); print(len(tasks), tasks[0].id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "6 shop-0\n"


def test_opening_a_large_file_reads_no_row(tmp_path, make_task):
    path = write_parquet(tmp_path / "large.parquet", [make_task(i, id=f"t{i}") for i in range(3000)], 500)
    loaded = TaskSet.load(path)
    assert len(loaded) == 3000 and loaded._sources[0].group is None
    assert isinstance(loaded[2999], Task) and loaded._sources[0].group[0] == 5

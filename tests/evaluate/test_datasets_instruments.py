# SPDX-License-Identifier: Apache-2.0
"""CATARACTS and the datasets of pictures: simulated downloads against what was drawn, and hand-made ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from layout_folders import Layout

from ophclip.corpus.simulate.layouts import pictures, tools
from ophclip.corpus.simulate.layouts.footage import instruments_at, phase_at
from ophclip.corpus.simulate.production import Script
from ophclip.errors import UsageError
from ophclip.evaluate.datasets import Dataset, load_dataset

Scripts = Callable[[str], list[Script]]

PICTURES = ["cataract1k-instruments", "catinstseg", "catinstseg-cadis", "cadis"]


def shown(data: Dataset, item: int) -> list[set[str]]:
    presence = data.items[item].instruments
    assert presence is not None
    return [{data.instrument_names[c] for c in np.flatnonzero(row)} for row in presence]


def drawn(script: Script, keys: dict[str, str], times: Sequence[float]) -> list[set[str]]:
    found = []
    for time_s in times:
        seen = instruments_at(script, time_s)
        if phase_at(script, time_s) == "phacoemulsification":
            seen.add("chopper")
        found.append({keys[tool] for tool in seen if tool in keys})
    return found


def keys_of(named: Any) -> dict[str, str]:
    return {tool: name[0] for tool, name in named.items()}


def test_each_second_of_cataracts_has_the_tools_that_were_drawn(layout: Layout, scripts: Scripts) -> None:
    data = load_dataset("cataracts", layout("cataracts"))
    keys = {tool: name.lower().replace("/", " ").replace(" ", "_") for tool, name in tools.TOOLS.items()}
    found = shown(data, 0)
    assert found == drawn(scripts("cataracts")[0], keys, range(16))
    assert any(found)
    assert len(load_dataset("cataracts", layout("cataracts"), split="train").items) == 2


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("cataract1k-instruments", keys_of(pictures.CATARACT_1K)),
        ("cadis", keys_of(pictures.CADIS_IDS)),
        ("catinstseg", keys_of(pictures.CATINSTSEG)),
        ("catinstseg-cadis", keys_of(pictures.CATINSTSEG_CADIS)),
    ],
)
def test_each_picture_has_the_instruments_that_were_drawn(
    name: str, keys: dict[str, str], layout: Layout, scripts: Scripts
) -> None:
    data = load_dataset(name, layout(name))
    assert data.unit == "picture"
    assert len(data.items[0].pictures) == 8
    assert all(picture.is_file() for picture in data.items[0].pictures)
    found = shown(data, 0)
    assert found == drawn(scripts(name)[0], keys, np.arange(0, 16, 2.0).tolist())
    assert any(found)


def test_supervisely_files_say_the_same_as_coco(own_layout: Layout) -> None:
    root = own_layout("cataract1k-instruments")
    by_coco = load_dataset("cataract1k-instruments", root)
    for path in root.rglob("instances.json"):
        path.unlink()
    by_supervisely = load_dataset("cataract1k-instruments", root)
    assert [item.video_id for item in by_coco.items] == ["case_5013", "case_5014", "case_5015"]
    for one, other in zip(by_coco.items, by_supervisely.items, strict=True):
        assert one.video_id == other.video_id
        assert one.pictures == other.pictures
        assert one.instruments is not None
        assert other.instruments is not None
        assert (one.instruments == other.instruments).all()


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_in_the_order_of_their_numbers(name: str, layout: Layout) -> None:
    for item in load_dataset(name, layout(name), split="all").items:
        numbers = [
            int("".join(filter(str.isdigit, picture.stem.split("_")[-1]))) for picture in item.pictures
        ]
        per_video = len(numbers) // max(1, numbers.count(numbers[0]))
        assert numbers[:per_video] == sorted(numbers[:per_video])


# Hand-made files from here on.


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    return path


def coco(root: Path, **changes: Any) -> Path:
    """Write a COCO file with one picture of a slit knife and a pupil."""
    picture(root / "test" / "case5_1.png")
    content = {
        "images": [{"id": 1, "file_name": "case5_1.png"}],
        "annotations": [{"image_id": 1, "category_id": 7}, {"image_id": 1, "category_id": 7}],
        "categories": [{"id": 7, "name": "slit knife"}],
    } | changes
    (root / "test" / "annotations.json").write_text(json.dumps(content, indent=1))
    return root


def cadis(root: Path, mask: np.ndarray[Any, Any]) -> Path:
    picture(root / "Video02" / "Images" / "Video2_frame000010.png")
    labels = root / "Video02" / "Labels"
    labels.mkdir()
    assert cv2.imwrite(str(labels / "Video2_frame000010.png"), mask)
    return root


def cataracts(root: Path, rows: list[str], *, header: str = "") -> Path:
    (root / "test01.mp4").write_bytes(b"not looked into")
    header = header or "Frame," + ",".join(tools.COLUMNS)
    (root / "test01.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


def tool_row(frame: int, *present: str) -> str:
    return f"{frame}," + ",".join("1" if name in present else "0" for name in tools.COLUMNS)


def test_both_knives_of_cataract_1k_are_one_instrument_and_anatomy_is_none(tmp_path: Path) -> None:
    names = ["Slit Knife", "Incision Knife", "Pupil", "pupil1", "Lens", "Gauge"]
    root = coco(
        tmp_path,
        categories=[{"id": number, "name": name} for number, name in enumerate(names)],
        annotations=[{"image_id": 1, "category_id": number} for number in range(5)],
    )
    assert shown(load_dataset("cataract1k-instruments", root), 0) == [{"slit_incision_knife"}]


def test_a_picture_without_annotations_shows_no_instrument(tmp_path: Path) -> None:
    data = load_dataset("catinstseg", coco(tmp_path, annotations=[]))
    assert shown(data, 0) == [set()]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"categories": [{"id": 7, "name": "spoon"}]},
            r"json:21: the category must be one of .* got 'spoon'",
        ),
        ({"annotations": [{"image_id": 2, "category_id": 7}]}, "image_id 2 of an annotation is nowhere"),
        ({"annotations": [{"image_id": 1, "category_id": 8}]}, "category_id 8 of an annotation is nowhere"),
        ({"images": [{"id": 1, "file_name": "b.png"}]}, r"json:5: the picture b\.png is missing"),
        ({"images": [{"id": 1, "file_name": "case5_1.png"}] * 2}, "is there twice"),
    ],
)
def test_bad_coco_is_refused(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        load_dataset("catinstseg", coco(tmp_path, **changes))


def test_json_that_was_cut_short_is_refused_with_its_line(tmp_path: Path) -> None:
    path = coco(tmp_path) / "test" / "annotations.json"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(UsageError, match=r"annotations\.json:\d+: must be JSON"):
        load_dataset("catinstseg", tmp_path)


def test_the_ids_of_a_mask_are_instruments_from_seven_on(tmp_path: Path) -> None:
    mask = np.array([[0, 6, 7], [35, 255, 35]], np.uint8)
    data = load_dataset("cadis", cadis(tmp_path, mask))
    assert shown(data, 0) == [{"hydrodissection_cannula", "iris_hooks"}]


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.array([[0, 0], [0, 36]], np.uint8), r"000010\.png:2: the id must be .* got 36 in column 2"),
        (np.zeros((4, 4, 3), np.uint8), r"must be a mask of one byte a pixel, got uint8 \[4, 4, 3\]"),
        (np.zeros((4, 4), np.uint16), r"must be a mask of one byte a pixel, got uint16"),
    ],
)
def test_bad_masks_are_refused(mask: np.ndarray[Any, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        load_dataset("cadis", cadis(tmp_path, mask))


def test_a_picture_without_a_mask_and_a_mask_without_a_picture_are_refused(tmp_path: Path) -> None:
    root = cadis(tmp_path, np.zeros((4, 4), np.uint8))
    (root / "Video02" / "Labels" / "Video2_frame000010.png").rename(root / "Video02" / "Labels" / "x.png")
    with pytest.raises(UsageError, match=r"x\.png: the mask has no picture") as caught:
        load_dataset("cadis", root)
    assert "000010.png: the mask is missing" in str(caught.value)


def test_the_tools_of_a_second_are_those_of_its_first_frame(tmp_path: Path) -> None:
    rows = [tool_row(frame + 1, "cotton") if frame >= 30 else tool_row(frame + 1) for frame in range(61)]
    data = load_dataset("cataracts", cataracts(tmp_path, rows))
    assert shown(data, 0) == [set(), {"cotton"}, {"cotton"}]


def test_columns_in_another_order_and_decimal_zeros_are_read(tmp_path: Path) -> None:
    columns = tools.COLUMNS[::-1]
    row = "1," + ",".join("1.0" if name == "Mendez ring" else "0.0" for name in columns)
    data = load_dataset("cataracts", cataracts(tmp_path, [row], header="Frame," + ",".join(columns)))
    assert shown(data, 0) == [{"mendez_ring"}]


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        (["1,2" + ",0" * 20], "", r"test01\.csv:2: biomarker must be 0 or 1, got '2'"),
        (["1,0.5" + ",0" * 20], "", r"test01\.csv:2: biomarker must be 0 or 1, got '0\.5'"),
        (["1,0"], "", r"test01\.csv:2: a row must have 22 fields, got 2"),
        (["x" + ",0" * 21], "", r"test01\.csv:2: the frame must be a number, got 'x'"),
        ([], "", r"test01\.csv:1: must have a row a frame"),
        (["1,0"], "Frame,biomarker", r"test01\.csv:1: there must be one column a tool, got none or two for"),
        (["1,0,0"], "Frame,biomarker,spoon", r"test01\.csv:1: the column 'spoon' is no tool"),
    ],
)
def test_bad_tables_of_tools_are_refused(rows: list[str], header: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        load_dataset("cataracts", cataracts(tmp_path, rows, header=header))


def test_a_frame_that_is_left_out_is_refused(tmp_path: Path) -> None:
    rows = [tool_row(frame) for frame in (*range(1, 31), *range(32, 70))]
    with pytest.raises(
        UsageError, match=r"test01\.csv:32: the frame must be 31, one more than before, got 32"
    ):
        load_dataset("cataracts", cataracts(tmp_path, rows))


def test_a_video_without_a_table_of_tools_is_refused(tmp_path: Path) -> None:
    cataracts(tmp_path, [tool_row(1)])
    (tmp_path / "test02.mp4").write_bytes(b"x")
    (tmp_path / "test02.csv").write_text("Frame,Steps\n1,3\n")  # the steps of the later challenge
    with pytest.raises(UsageError, match=r"test02\.mp4: has no test02\.csv with the columns of the tools"):
        load_dataset("cataracts", tmp_path)

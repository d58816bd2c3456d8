# SPDX-License-Identifier: Apache-2.0
"""What a model said of a dataset, in one file that holds all that any metric or figure needs.

`predictions.npz` has the rows of all videos one after the other, and a `header` (JSON as bytes) with the
class names, the video ids and the facts of the protocol. The same predictions always give the same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ophclip.errors import DamageError, OphclipError, UsageError
from ophclip.files import replace_file

NAME = "predictions.npz"
FORMAT, VERSION = "ophclip-predictions", 1
UNSCORED = -1  # in true_phases: this row is not scored
FACTS = ("protocol", "dataset", "data_sha256", "weights", "prompts", "fps", "unit", "notes")


@dataclass(frozen=True)
class VideoPrediction:
    """Truth and prediction of one video (or clip, or folder of pictures), a row a thing that is scored.

    A task that the dataset does not have is None in the truth and has no classes in the prediction.
    """

    video_id: str
    times_s: NDArray[np.float64]  # [T], when a row is or begins; pictures are counted instead
    true_phases: NDArray[np.int64] | None  # [T], -1 where not scored
    true_instruments: NDArray[np.int64] | None  # 0/1 [T, C]
    phase_probabilities: NDArray[np.float32]  # [T, C]
    instrument_scores: NDArray[np.float32]  # [T, C], what ranks rows: a cosine, or a probe's logit
    instrument_probabilities: NDArray[np.float32]  # [T, C], above one half: present

    @property
    def phases(self) -> NDArray[np.int64]:
        """The most probable phase of each row `[T]`; the first of equals."""
        best: NDArray[np.int64] = self.phase_probabilities.argmax(axis=1)
        return best


@dataclass(frozen=True)
class Predictions:
    """The predictions of one protocol on one dataset, in the order of video ids.

    `facts` are plain JSON types: what was done, with which weights, prompts and data (`FACTS` at least).
    """

    facts: dict[str, Any]
    phase_names: list[str]
    instrument_names: list[str]
    videos: list[VideoPrediction]

    def __post_init__(self) -> None:
        object.__setattr__(self, "videos", sorted(self.videos, key=lambda video: video.video_id))

    @property
    def num_rows(self) -> int:
        """The number of rows of all videos."""
        return sum(len(video.times_s) for video in self.videos)

    @property
    def num_unscored(self) -> int:
        """The number of rows whose phase is not scored."""
        return int(sum((v.true_phases == UNSCORED).sum() for v in self.videos if v.true_phases is not None))


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write the file, whole or not at all.

    Raises:
        UsageError: the predictions are not what `Predictions` says: a shape, a label, or NaN.
    """
    problem = next(_problems(predictions), None)
    if problem:
        raise UsageError(f"{path} cannot be written: {problem}", remedy="check the model and the labels")
    videos = predictions.videos
    header = {
        "format": FORMAT,
        "version": VERSION,
        "facts": predictions.facts,
        "phase_names": predictions.phase_names,
        "instrument_names": predictions.instrument_names,
        "video_ids": [video.video_id for video in videos],
        "rows": [len(video.times_s) for video in videos],
    }
    arrays: dict[str, NDArray[Any]] = {
        "header": np.frombuffer(json.dumps(header, allow_nan=False).encode(), dtype=np.uint8),
        "times_s": _joined([video.times_s for video in videos], np.float64, ()),
    }
    if predictions.phase_names:
        classes = (len(predictions.phase_names),)
        truth = [video.true_phases for video in videos if video.true_phases is not None]
        arrays["true_phases"] = _joined(truth, np.int32, ())
        arrays["phase_probabilities"] = _joined([v.phase_probabilities for v in videos], np.float32, classes)
    if predictions.instrument_names:
        classes = (len(predictions.instrument_names),)
        present = [video.true_instruments for video in videos if video.true_instruments is not None]
        arrays["true_instruments"] = _joined(present, np.uint8, classes)
        arrays["instrument_scores"] = _joined([v.instrument_scores for v in videos], np.float32, classes)
        arrays["instrument_probabilities"] = _joined(
            [v.instrument_probabilities for v in videos], np.float32, classes
        )
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    replace_file(path, buffer.getvalue())


def load_predictions(path: Path) -> Predictions:
    """Read the file, or the one of that name in a folder of results, and check it.

    Raises:
        UsageError: there is none, or it is something else, or of a newer format.
        DamageError: it is cut short, changed, or does not hold together.
    """
    path = path / NAME if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"{path} is not there", remedy=f"pass a folder of results, or its {NAME}")
    remedy = "run the evaluation again"
    try:
        with zipfile.ZipFile(path):
            pass
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if "header" not in arrays:
            raise UsageError(f"{path} holds no predictions", remedy=f"pass the {NAME} of an evaluation")
        header = json.loads(arrays.pop("header").tobytes())
        _check_format(path, header)
        predictions = _parted(header, arrays)
    except OphclipError:
        raise
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DamageError(f"{path} is damaged: {error}", remedy=remedy) from error
    problem = next(_problems(predictions), None)
    if problem:
        raise DamageError(f"{path} is damaged: {problem}", remedy=remedy)
    return predictions


def _joined(parts: Sequence[NDArray[Any]], dtype: Any, tail: tuple[int, ...]) -> NDArray[Any]:
    return np.concatenate([np.zeros((0, *tail), dtype), *parts]).astype(dtype)


def _check_format(path: Path, header: dict[str, Any]) -> None:
    if header.get("format") != FORMAT:
        raise UsageError(f"{path} holds no predictions", remedy=f"pass the {NAME} of an evaluation")
    if header.get("version") != VERSION:
        raise UsageError(
            f"{path}: the format must be {VERSION}, got {header.get('version')}", remedy="upgrade ophclip"
        )


def _parted(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Predictions:
    rows = [int(count) for count in header["rows"]]
    ends = np.cumsum([0, *rows])
    total = int(ends[-1])
    for name, array in arrays.items():
        if len(array) != total or min(rows, default=0) < 0:
            raise ValueError(f"{name} must have {total} rows, got {len(array)}")
    names = (list(header["phase_names"]), list(header["instrument_names"]))
    nothing = np.zeros((total, 0), dtype=np.float32)
    truth = arrays["true_phases"].astype(np.int64) if names[0] else None
    present = arrays["true_instruments"].astype(np.int64) if names[1] else None
    columns = (
        arrays["phase_probabilities"] if names[0] else nothing,
        arrays["instrument_scores"] if names[1] else nothing,
        arrays["instrument_probabilities"] if names[1] else nothing,
    )
    videos = []
    for video_id, begin, end in zip(header["video_ids"], ends[:-1], ends[1:], strict=True):
        part = slice(begin, end)
        videos.append(
            VideoPrediction(
                video_id,
                arrays["times_s"][part],
                None if truth is None else truth[part],
                None if present is None else present[part],
                *(column[part] for column in columns),
            )
        )
    return Predictions(dict(header["facts"]), *names, videos)


def _problems(predictions: Predictions) -> Iterator[str]:
    """Say what does not hold together."""
    missing = [name for name in FACTS if name not in predictions.facts]
    if missing:
        yield f"there must be a fact {missing[0]!r}"
    ids = [video.video_id for video in predictions.videos]
    if len(set(ids)) < len(ids):
        yield f"each video must be there once, got {len(ids)} for {len(set(ids))} ids"
    for video in predictions.videos:
        for problem in _video_problems(
            video, len(predictions.phase_names), len(predictions.instrument_names)
        ):
            yield f"video {video.video_id!r}: {problem}"


def _video_problems(video: VideoPrediction, phases: int, instruments: int) -> Iterator[str]:
    rows = len(video.times_s)
    for name, classes in (
        ("phase_probabilities", phases),
        ("instrument_scores", instruments),
        ("instrument_probabilities", instruments),
    ):
        values = getattr(video, name)
        if values.shape != (rows, classes):
            yield f"{name} must be {(rows, classes)}, got {values.shape}"
        elif not np.isfinite(values).all():
            yield f"{name} must be finite, got NaN or infinity"
    for name, shape, least, most in (
        ("true_phases", (rows,), UNSCORED, phases - 1),
        ("true_instruments", (rows, instruments), 0, 1),
    ):
        labels = getattr(video, name)
        if labels is None:
            if shape[-1] and (phases if name == "true_phases" else instruments):
                yield f"there must be {name}"
        elif labels.shape != shape:
            yield f"{name} must be {shape}, got {labels.shape}"
        elif labels.size and (labels.min() < least or labels.max() > most):
            yield f"{name} must lie in [{least}, {most}], got {labels.min()} to {labels.max()}"

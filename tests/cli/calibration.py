"""calibrate: every source of data, caches, what is refused, and that the result depends on the data alone."""

from __future__ import annotations

import base64
import json
import random
import struct
import zipfile
import zlib

import tiny_onnx
from program import ACCURACY, FAILED, USAGE, Program, read_npy, write_npy  # noqa: F401

KERNEL = [0.1 * (i % 7 - 3) for i in range(4 * 3 * 9)]


def network(batch: int | str = "batch", side: int | str = 8) -> bytes:
    """y = Conv(Relu(Conv(x))) over float [batch, 3, side, side]."""
    nodes = [
        tiny_onnx.node("Conv", ["x", "w"], ["a"], "first"),
        tiny_onnx.node("Relu", ["a"], ["b"], "relu"),
        tiny_onnx.node("Conv", ["b", "v"], ["y"], "second"),
    ]
    weights = [tiny_onnx.tensor("w", [4, 3, 3, 3], KERNEL), tiny_onnx.tensor("v", [2, 4, 1, 1], [0.5, -1, 2, 0.25] * 2)]
    out = "side_out" if isinstance(side, str) else side - 2
    return tiny_onnx.model(
        nodes, [tiny_onnx.value("x", [batch, 3, side, side])], [tiny_onnx.value("y", [batch, 2, out, out])], weights
    )


def two_products() -> bytes:
    """total = left * w + right * w, both float [batch, 4]."""
    nodes = [
        tiny_onnx.node("MatMul", ["left", "w"], ["l"]),
        tiny_onnx.node("MatMul", ["right", "w"], ["r"]),
        tiny_onnx.node("Add", ["l", "r"], ["total"]),
    ]
    inputs = [tiny_onnx.value(name, ["batch", 4]) for name in ("left", "right")]
    weights = [tiny_onnx.tensor("w", [4, 4], [0.25 * (i % 5 - 2) for i in range(16)])]
    return tiny_onnx.model(nodes, inputs, [tiny_onnx.value("total", ["batch", 4])], weights)


def samples(count: int, size: int = 192, seed: int = 1) -> list[list[float]]:
    numbers = random.Random(seed)
    return [[numbers.gauss(0, 1) for _ in range(size)] for _ in range(count)]


def flat(rows: list[list[float]]) -> list[float]:
    return [value for row in rows for value in row]


def write_data(hussar: Program, rows: list[list[float]], name: str = "x.npy") -> str:
    write_npy(hussar.folder / name, [len(rows), 3, 8, 8], flat(rows))
    return name


def calibrate(hussar: Program, data: str, output: str = "c.json", *flags, **expected):
    if not (hussar.folder / "net.onnx").exists():
        hussar.model("net", network())
    return hussar("calibrate", "net.onnx", "--calib", data, "-o", output, *flags, **expected)


def content(hussar: Program, name: str = "c.json") -> bytes:
    return (hussar.folder / name).read_bytes()


def test_calibrate_counts_what_steps_read_and_give(hussar: Program) -> None:
    rows = samples(10)
    data = calibrate(hussar, write_data(hussar, rows), "c.json", "--json").json
    tensors = {entry["name"]: entry for entry in data["tensors"]}
    assert {"x", "b", "y"} <= set(tensors) and data["samples"] == 10, data
    assert abs(tensors["x"]["min"] - min(flat(rows))) < 1e-6 and abs(tensors["x"]["max"] - max(flat(rows))) < 1e-6
    assert tensors["b"]["min"] == 0 and tensors["b"]["zero_point"] == 0, tensors["b"]
    assert all(entry["low"] <= 0 <= entry["high"] and entry["sqnr_db"] > 30 for entry in tensors.values()), tensors
    cache = json.loads(content(hussar))
    assert cache["complete"] and cache["samples"] == 10 and cache["tensors"]["x"]["elements"] == 1920, cache
    assert "10 samples are few" in data["warnings"][0], data["warnings"]


def test_calibrate_depends_on_the_data_alone(hussar: Program) -> None:
    """Order, files, threads: the cache is the same byte for byte."""
    rows = samples(12)
    calibrate(hussar, write_data(hussar, rows), "whole.json")
    write_data(hussar, rows[::-1], "turned.npy")
    calibrate(hussar, "turned.npy", "c.json", "--threads", "1")
    assert content(hussar) == content(hussar, "whole.json")
    for folder, cuts in (("single", range(12)), ("pieces", (0, 1, 6))):
        (hussar.folder / folder).mkdir()
        for begin, end in zip(cuts, [*cuts[1:], 12]):
            write_data(hussar, rows[begin:end], f"{folder}/{begin:03}.npy")
        calibrate(hussar, folder)
        assert content(hussar) == content(hussar, "whole.json"), folder
    (hussar.folder / "x.raw").write_bytes(struct.pack("<2304f", *flat(rows)))
    calibrate(hussar, "x.raw")
    assert content(hussar) == content(hussar, "whole.json")
    write_data(hussar, rows[:11] + [rows[0]], "other.npy")
    calibrate(hussar, "other.npy")
    assert content(hussar) != content(hussar, "whole.json")


def test_calibrate_with_several_inputs(hussar: Program) -> None:
    hussar.model("net", two_products())
    rows = samples(9, 4)
    for name in ("left", "right"):
        write_npy(hussar.folder / f"{name}.npy", [9, 4], flat(rows if name == "left" else rows[::-1]))
    with zipfile.ZipFile(hussar.folder / "both.npz", "w") as archive:
        for name in ("left", "right"):
            archive.write(hussar.folder / f"{name}.npy", f"{name}.npy")
    calibrate(hussar, "both.npz", "whole.json")
    for name in ("left", "right"):
        (hussar.folder / "by_input" / name).mkdir(parents=True)
        for i in range(9):
            row = rows[i] if name == "left" else rows[8 - i]
            write_npy(hussar.folder / f"by_input/{name}/{i}.npy", [4], row)
    calibrate(hussar, "by_input")
    assert content(hussar) == content(hussar, "whole.json")
    records = b"".join(
        (hussar.folder / f"by_input/{name}/{i}.npy").read_bytes() for i in range(9) for name in ("left", "right")
    )
    (hussar.folder / "records").write_bytes(records)
    calibrate(hussar, "cmd:cat records")
    assert content(hussar) == content(hussar, "whole.json")
    (hussar.folder / "by_input/left/3.npy").unlink()
    calibrate(hussar, "by_input", code=USAGE, says="'3' is there for 1 of the 2 inputs")
    calibrate(hussar, "left.npy", code=USAGE, says="one folder per input")
    (hussar.folder / "records").write_bytes((hussar.folder / "left.npy").read_bytes())
    calibrate(hussar, "cmd:cat records", code=USAGE, says="end before that for input 'right'")


def test_calibrate_from_a_command(hussar: Program) -> None:
    rows = samples(10)
    calibrate(hussar, write_data(hussar, rows), "whole.json")
    calibrate(hussar, "cmd:cat x.npy")
    assert content(hussar) == content(hussar, "whole.json")
    calibrate(hussar, "cmd:true", "n.json", code=USAGE, says="no calibration data: not one sample came")
    calibrate(hussar, "cmd:echo hello you there", "n.json", code=USAGE, says="consecutive .npy records")
    calibrate(hussar, "cmd:head -c 4000 x.npy", "n.json", code=USAGE, says="last record is cut off")
    calibrate(hussar, "cmd:", "n.json", code=USAGE, says="the command that writes")
    assert "n.json" not in hussar.files()


def test_calibrate_goes_on_where_it_was_cut_off(hussar: Program) -> None:
    rows = samples(20)
    calibrate(hussar, write_data(hussar, rows), "whole.json")
    for i in range(20):
        write_data(hussar, rows[i : i + 1], f"{i:02}.npy")
    says = "status 3) after 11 batches (11 samples are counted and kept"
    calibrate(hussar, "cmd:cat 0*.npy 10.npy; exit 3", "c.json", code=FAILED, says=says)
    cut = content(hussar)
    assert not json.loads(cut)["complete"] and json.loads(cut)["samples"] == 11
    calibrate(hussar, "c.json", "n.json", code=USAGE, says="was cut off after 11 samples")
    # Other data, or another model, would spoil what is there.
    calibrate(hussar, "cmd:cat 1*.npy 0*.npy", "c.json", code=USAGE, says="had seen other data")
    calibrate(hussar, "cmd:cat 0*.npy", "c.json", code=USAGE, says="had seen 11 samples, now there are only 10")
    assert content(hussar) == cut
    outcome = calibrate(hussar, "cmd:cat 0*.npy 1*.npy", "c.json", "--json")
    assert outcome.json["resumed_samples"] == 11 and "going on after 11 samples" in outcome.err, outcome
    assert content(hussar) == content(hussar, "whole.json")


def test_calibrate_decides_again_without_data(hussar: Program) -> None:
    calibrate(hussar, write_data(hussar, samples(10)), "mse.json", "--calib-method", "mse")
    for method in ("entropy", "minmax", "percentile", "percentile99.9", "auto"):
        calibrate(hussar, "x.npy", "direct.json", "--calib-method", method)
        data = calibrate(hussar, "mse.json", "again.json", "--calib-method", method, "--json").json
        # But for what needs the data: biases are corrected for the ranges that were chosen first.
        direct, again = (json.loads(content(hussar, name)) for name in ("direct.json", "again.json"))
        assert direct["tensors"] == again["tensors"] and direct["method"] == again["method"], method
        assert data["method"] == {"percentile": "percentile99.99"}.get(method, method), data["method"]
    calibrate(hussar, "x.npy", "n.json", "--calib-method", "magic", code=USAGE, says="there are auto, entropy, minmax")
    hussar.model("net", network(side=9))
    calibrate(hussar, "mse.json", "n.json", code=USAGE, says="is of another model ('net.onnx'")


def test_calibrate_writes_and_reads_tensorrt_caches(hussar: Program) -> None:
    calibrate(hussar, write_data(hussar, samples(10)), "c.json", "--calib-method", "minmax", "--trt-cache", "t.cache")
    lines = (hussar.folder / "t.cache").read_text().splitlines()
    scales = {line.rsplit(": ", 1)[0]: line.rsplit(": ", 1)[1] for line in lines[1:]}
    assert lines[0] == "TRT-8601-MinMaxCalibration" and {"x", "b", "y"} <= set(scales), lines
    x = json.loads(content(hussar))["tensors"]["x"]
    scale = struct.unpack(">f", bytes.fromhex(scales["x"]))[0]
    assert abs(scale * 127 - max(-x["min"], x["max"])) < 1e-5
    hussar("calibrate", "net.onnx", "--from-trt-cache", "t.cache", "-o", "from.json", "--trt-cache", "back.cache")
    assert content(hussar, "back.cache").split(b"\n")[1:] == content(hussar, "t.cache").split(b"\n")[1:]
    (hussar.folder / "t.cache").write_text("TRT-8601-EntropyCalibration2\nnobody: 3c010204\n")
    hussar("calibrate", "net.onnx", "--from-trt-cache", "t.cache", "-o", "n.json", code=USAGE, says="none of the 1 names")
    hussar("calibrate", "net.onnx", "-o", "n.json", code=USAGE, says="--calib DATA is needed")


def test_calibrate_refuses_bad_data(hussar: Program) -> None:
    model, rows = hussar.model("net", network()), samples(10)

    def refused(says: str, data: str = "x.npy", *flags: str, code: int = USAGE) -> None:
        calibrate(hussar, data, "n.json", *flags, code=code, says=says)
        assert "n.json" not in hussar.files(), says

    write_data(hussar, rows[:3])
    refused("3 samples are too few to calibrate with: fewer than 8")
    hussar("calibrate", model, "--calib", "x.npy", "-o", "few.json", "--min-samples", "3")
    for bad, name in ((float("nan"), "nan"), (float("inf"), "inf")):
        write_data(hussar, [*rows[:4], [0.0] * 9 + [bad] + [0.0] * 182, *rows[5:]])
        calibrate(hussar, "x.npy", "n.json", code=USAGE, says=f"'x.npy', sample 4: input 'x' is {name} at element 9")
        (hussar.folder / "n.json").unlink(missing_ok=True)
    write_npy(hussar.folder / "x.npy", [10, 3, 4], [0] * 120)
    refused("'x' has shape 10x3x4; the model takes x:float32[batchx3x8x8]")
    write_npy(hussar.folder / "x.npy", [10, 3, 8, 7], [0] * 1680)
    refused("'x' has shape 10x3x8x7")
    write_npy(hussar.folder / "x.npy", [10, 3, 8, 8], [0] * 1920, "<f8")
    refused("'x' is float64; the model takes")
    write_npy(hussar.folder / "x.npy", [0, 3, 8, 8], [])
    refused("no samples in it")
    write_data(hussar, rows)
    with zipfile.ZipFile(hussar.folder / "z.npz", "w") as archive:
        archive.write(hussar.folder / "x.npy", "z.npy")
    refused("there is no input 'z'", "z.npz")
    (hussar.folder / "empty").mkdir()
    (hussar.folder / "empty/readme.txt").write_text("nothing")
    refused("the folder 'empty' holds no calibration data", "empty")
    refused("there are no calibration data at 'nowhere'", "nowhere", code=FAILED)
    refused("neither a folder nor", model)
    (hussar.folder / "x.raw").write_bytes(b"12345")
    refused("has 5 bytes, no multiple of the 768", "x.raw")
    # What is not a calibration stays.
    before = content(hussar, "net.onnx")
    calibrate(hussar, "x.npy", "net.onnx", code=USAGE, says="will not be replaced")
    assert content(hussar, "net.onnx") == before
    (hussar.folder / "c.json").write_text("{}")
    calibrate(hussar, "c.json", "n.json", code=USAGE, says="is no calibration file or damaged")


def test_calibrate_names_activations_that_overflow(hussar: Program) -> None:
    weights = [tiny_onnx.tensor("w", [4, 1], [10.0] * 4)]
    nodes = [tiny_onnx.node("MatMul", ["x", "w"], ["y"], "head")]
    hussar.model("net", tiny_onnx.model(nodes, [tiny_onnx.value("x", ["batch", 4])], [tiny_onnx.value("y", ["batch", 1])], weights))
    write_npy(hussar.folder / "x.npy", [9, 4], [1.0] * 32 + [3e38] * 4)
    says = "'x.npy', sample 8: 1 elements of tensor 'y' (made by 'head') are NaN or infinite"
    calibrate(hussar, "x.npy", code=FAILED, says=says)


def test_calibrate_with_a_fixed_batch(hussar: Program) -> None:
    hussar.model("net", network(batch=4))
    data = calibrate(hussar, write_data(hussar, samples(10)), "c.json", "--json").json
    assert data["samples"] == 8 and "2 samples were left out" in str(data["warnings"]), data
    write_data(hussar, samples(3))
    calibrate(hussar, "x.npy", "n.json", code=USAGE, says="3 samples where the model takes 4 at a time")


def test_calibrate_with_open_shapes(hussar: Program) -> None:
    hussar.model("net", network(side="side"))
    (hussar.folder / "sizes").mkdir()
    for i in range(8):
        write_npy(hussar.folder / f"sizes/{i}.npy", [1, 3, 4 + i, 4 + i], samples(1, 3 * (4 + i) ** 2, i)[0])
    data = calibrate(hussar, "sizes", "c.json", "--json").json
    assert data["samples"] == 8, data
    (hussar.folder / "x.raw").write_bytes(struct.pack("<1536f", *flat(samples(8))))
    calibrate(hussar, "x.raw", "n.json", code=USAGE, says="is not known; give it with --shapes")
    calibrate(hussar, "x.raw", "c.json", "--shapes", "x:1x3x8x8")


def test_calibrate_suspects_wrong_preprocessing(hussar: Program) -> None:
    """A network whose output is saturated by pictures of 0 to 255: always the same class."""
    nodes = [
        tiny_onnx.node("MatMul", ["x", "w"], ["a"]),
        tiny_onnx.node("Softmax", ["a"], ["y"], "softmax", [tiny_onnx.attribute_int("axis", -1)]),
    ]
    weights = [tiny_onnx.tensor("w", [4, 2], [1.0, -1.0, 0.5, -0.25, -0.4, 0.3, 0.2, 0.1])]
    hussar.model("net", tiny_onnx.model(nodes, [tiny_onnx.value("x", ["batch", 4])], [tiny_onnx.value("y", ["batch", 2])], weights))
    rows = [[(value + 1) * 40 + 20 for value in row] for row in samples(12, 4)]
    write_npy(hussar.folder / "x.npy", [12, 4], flat(rows))
    outcome = calibrate(hussar, "x.npy")
    assert "your preprocessing looks wrong: output 'y' is nearly the same for all samples" in outcome.err, outcome
    write_npy(hussar.folder / "x.npy", [12, 4], flat(samples(12, 4)))
    assert "preprocessing" not in calibrate(hussar, "x.npy").err
    write_npy(hussar.folder / "x.npy", [12, 4], [0.5] * 48)
    assert "every element of input 'x' is 0.5" in calibrate(hussar, "x.npy").err


def classifier() -> bytes:
    """The class is the largest of four numbers."""
    weights = [tiny_onnx.tensor("w", [4, 4], [float(i % 5 == 0) for i in range(16)])]
    values = [tiny_onnx.value("x", ["batch", 4])], [tiny_onnx.value("y", ["batch", 4])]
    return tiny_onnx.model([tiny_onnx.node("MatMul", ["x", "w"], ["y"], "head")], *values, weights)


def test_calibrate_stops_where_the_model_does_not_know_the_labels(hussar: Program) -> None:
    hussar.model("net", classifier())
    rows = samples(60, 4)
    right = [row.index(max(row)) for row in rows]
    write_npy(hussar.folder / "x.npy", [60, 4], flat(rows))

    def with_labels(labels: list[int], **expected):
        write_npy(hussar.folder / "y.npy", [len(labels)], labels, "<i8")
        return calibrate(hussar, "x.npy", "n.json", "--labels", "y.npy", **expected)

    says = "your preprocessing is wrong: the model in FP32 gives the right class for"
    with_labels([random.Random(7).randrange(4) for _ in right], code=ACCURACY, says=says)
    with_labels(right[1:] + right[:1], code=ACCURACY, says=says)
    with_labels([label + 1 for label in right], code=USAGE, says="label 4 is no class: the first output has classes 0 to 3")
    with_labels(right[:59], code=USAGE, says="59 labels, there are 60 samples")
    assert "n.json" not in hussar.files()
    # A mean that was not subtracted makes one class of all.
    write_npy(hussar.folder / "x.npy", [60, 4], [value + 100 * (i % 4 == 2) for i, value in enumerate(flat(rows))])
    with_labels(right, code=ACCURACY, says=says)
    assert "n.json" not in hussar.files()
    write_npy(hussar.folder / "x.npy", [60, 4], flat(rows))
    assert "the class of 60 of 60 samples" in with_labels(right).err
    # Half of them wrong is far from chance; and labels of one class only are no evidence.
    with_labels([(label + i % 2) % 4 for i, label in enumerate(right)])
    calibrate(hussar, "n.json", "m.json", "--labels", "y.npy", code=USAGE, says="--calib must be data")


# ---- pictures ------------------------------------------------------------------------------------------------------


def png(width: int, height: int, pixels: list[tuple[int, int, int]]) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(
        b"\0" + b"".join(bytes(pixel) for pixel in pixels[y * width : (y + 1) * width]) for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def range_of_input(hussar: Program, *flags) -> tuple[float, float]:
    data = calibrate(hussar, "pictures", "c.json", "--calib-method", "minmax", "--json", *flags).json
    x = next(entry for entry in data["tensors"] if entry["name"] == "x")
    return round(x["min"], 4), round(x["max"], 4)


def test_calibrate_with_pictures(hussar: Program) -> None:
    (hussar.folder / "pictures").mkdir()
    numbers = random.Random(3)
    rows = []
    for i in range(8):
        pixels = [tuple(numbers.randrange(256) for _ in range(3)) for _ in range(64)]
        (hussar.folder / f"pictures/{i}.png").write_bytes(png(8, 8, pixels))
        planes = [[pixel[c] for pixel in pixels] for c in range(3)]
        rows.append([(v / 255 - m) / s for plane, m, s in zip(planes, (0.5, 0.4, 0.3), (0.1, 0.2, 0.4)) for v in plane])
    words = "mean=0.5,0.4,0.3 std=0.1,0.2,0.4"
    calibrate(hussar, write_data(hussar, rows), "npy.json")
    calibrate(hussar, "pictures", "c.json", "--preprocess", words)
    in_npy, in_png = (json.loads(content(hussar, name))["tensors"]["x"] for name in ("npy.json", "c.json"))
    assert abs(in_npy["min"] - in_png["min"]) < 1e-6 and abs(in_npy["max"] - in_png["max"]) < 1e-6
    assert in_npy["positive"] == in_png["positive"] and in_npy["negative"] == in_png["negative"]
    calibrate(hussar, "pictures", "n.json", code=USAGE, says="pictures need --preprocess")
    for wrong, says in (
        ("size=3", "there is no 'size'"), ("resize=big", "resize=big is not 256"), ("std=0", "positive"),
        ("mean=1,2", "one number or three"), ("layout=hwc", "nchw or nhwc"), ("scale=1/0", "scale"), ("crop=0", "crop"),
        ("color=gray mean=1,2,3", "3 numbers for 1 channel"), ("crop=9", "resize first"),
    ):  # fmt: skip
        calibrate(hussar, "pictures", "n.json", "--preprocess", wrong, code=USAGE, says=says)
    calibrate(hussar, "pictures", "n.json", "--preprocess", "layout=nhwc", code=USAGE, says="'x' has shape 1x8x8x3")
    (hussar.folder / "pictures/8.png").write_bytes(b"\x89PNG nonsense")
    calibrate(hussar, "pictures", "n.json", "--preprocess", words, code=USAGE, says="8.png' is no PNG, JPEG or BMP")


def test_calibrate_resizes_and_crops(hussar: Program) -> None:
    (hussar.folder / "pictures").mkdir()
    for i in range(8):
        # 24 x 16: bars of 3 pixels at the left and right edge, which the crop of the middle leaves out.
        row = [(255, 0, 0)] * 3 + [(10, 60, 110)] * 18 + [(255, 0, 0)] * 3
        (hussar.folder / f"pictures/{i}.png").write_bytes(png(24, 16, row * 16))
    scale = ("--preprocess", "resize=8 crop=8 scale=1")
    assert range_of_input(hussar, *scale) == (10, 110)
    assert range_of_input(hussar, "--preprocess", "resize=8x8 scale=1")[1] > 110
    assert range_of_input(hussar, "--preprocess", "resize=8 crop=8 scale=1 mean=10,60,110") == (0, 0)
    assert range_of_input(hussar, "--preprocess", "resize=8 crop=8 scale=1 color=bgr mean=110,60,10") == (0, 0)


JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMUFRUVDA8XGB"
    "YUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBT/wAARCAAI"
    "AAgDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAX/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QAFQEBAQAAAAAAAAAAAAAAAAAABwj/xA"
    "AUEQEAAAAAAAAAAAAAAAAAAAAA/9oADAMBAAIRAxEAPwCmAnI+v//Z"
)


def test_calibrate_reads_jpeg(hussar: Program) -> None:
    (hussar.folder / "pictures").mkdir()
    for i in range(8):
        (hussar.folder / f"pictures/{i}.JPG").write_bytes(JPEG)
    low, high = range_of_input(hussar, "--preprocess", "scale=1")
    assert abs(low - 40) < 4 and abs(high - 200) < 4, (low, high)

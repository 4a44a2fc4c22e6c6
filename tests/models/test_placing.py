"""Numbers arrive where they belong, in blocks, and beside the arrays little memory is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxserve.models import placing
from jaxserve.models.placing import Index, place
from jaxserve.sharding.axes import DATA, TENSOR
from jaxserve.sharding.mesh import make_mesh
from tests.tiny_models import TINY_LLAMA, llama_shapes

ROOT = Path(__file__).parent.parent.parent
MIB = 1 << 20
NUMBERS = np.arange(24 * 10, dtype=np.float32).reshape(24, 10)


def split(*spec: str | None) -> NamedSharding:
    return NamedSharding(make_mesh(tensor_parallel=2), PartitionSpec(*spec))


@pytest.mark.parametrize("spec", [(None, None), (TENSOR, None), (None, TENSOR)])
@pytest.mark.parametrize("block_bytes", [1, 130, 10_000])
@pytest.mark.parametrize("gathered_bytes", [None, 1, 100, 10_000])
def test_numbers_arrive_whatever_the_sizes_of_the_pieces(
    spec: tuple[str | None, ...],
    block_bytes: int,
    gathered_bytes: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(placing, "BLOCK_BYTES", block_bytes)
    largest = 0

    def read(index: Index) -> np.ndarray:
        nonlocal largest
        largest = max(largest, NUMBERS[index].nbytes)
        return NUMBERS[index]

    where = split(*spec)
    array = place(NUMBERS.shape, jnp.dtype("bfloat16"), where, read, gathered_bytes=gathered_bytes)
    assert array.sharding == where
    np.testing.assert_array_equal(array, NUMBERS.astype(jnp.bfloat16))
    assert largest <= max(2 * block_bytes, NUMBERS[0].nbytes)  # float32 read, bfloat16 made


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_any_number_of_dimensions_will_do(shape: tuple[int, ...]) -> None:
    numbers = np.ones(shape, np.float32)
    array = place(shape, jnp.dtype("float32"), split(), lambda index: numbers[index])
    np.testing.assert_array_equal(array, numbers)


def test_replicas_are_read_once() -> None:
    reads: list[Index] = []

    def read(index: Index) -> np.ndarray:
        reads.append(index)
        return NUMBERS[index]

    array = place(NUMBERS.shape, jnp.dtype("float32"), split(DATA, None), read)
    assert len(array.addressable_shards) == 2
    assert len(reads) == 1


def test_a_cpu_takes_the_memory_over() -> None:
    gathered: list[int] = []
    original = placing._aligned

    def remembered(shape: tuple[int, ...], dtype: jnp.dtype) -> np.ndarray:
        made = original(shape, dtype)
        gathered.append(made.ctypes.data)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placing, "_aligned", remembered)
        array = place(NUMBERS.shape, jnp.dtype("float32"), split(TENSOR), NUMBERS.__getitem__)
    pointers = [shard.data.unsafe_buffer_pointer() for shard in array.addressable_shards]
    assert sorted(pointers) == sorted(gathered)


# Loads a folder in a process that may allocate its arrays and so much more. What is read is
# warmed up first: libraries, compiled programs and the stacks of threads are no part of it.
CHILD = """
import resource, sys
from pathlib import Path
import jax, jax.numpy as jnp
from jaxserve.models.loading import load_model
from jaxserve.sharding.mesh import make_mesh
from tests.tiny_models import write_tiny_llama

folder, small, beyond = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
mesh, dtype = make_mesh(tensor_parallel=1), jnp.dtype("float32")
load_model(write_tiny_llama(small), dtype=dtype, mesh=mesh)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
used = int(status["VmData"].split()[0]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + beyond, resource.RLIM_INFINITY))
model = load_model(folder, dtype=dtype, mesh=mesh)
print(sum(param.nbytes for param in model.params))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gigabyte in bfloat16, two when loaded in float32; mostly holes, so it takes no disk."""
    folder = tmp_path_factory.mktemp("large")
    config = {
        **TINY_LLAMA,
        "vocab_size": 150_000,  # the embedding alone is a third
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "head_dim": 128,
    }
    (folder / "config.json").write_text(json.dumps(config))
    header, offset = {}, 0
    for key, shape in llama_shapes(config).items():
        size = 2 * int(np.prod(shape))
        offsets = [offset, offset + size]
        header[key] = {"dtype": "BF16", "shape": shape, "data_offsets": offsets}
        offset += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    return folder


def load_within(beyond: int, large: Path, small: Path) -> subprocess.CompletedProcess[str]:
    """Load `large` in a process that may allocate its arrays and `beyond` bytes."""
    size = 2 * (large / "model.safetensors").stat().st_size
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(large), str(small), str(size + beyond)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts what we mean on Linux")
def test_loading_needs_little_memory_beside_the_arrays(large: Path, tmp_path: Path) -> None:
    done = load_within(64 * MIB, large, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1000 * MIB
    assert load_within(-64 * MIB, large, tmp_path).returncode != 0  # so the limit is one

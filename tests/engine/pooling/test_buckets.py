import pytest

from jaxserve.engine.pooling.buckets import Bucket, Buckets


def test_lengths_double_and_rows_go_up_by_fours() -> None:
    buckets = Buckets.build(max_rows=32, max_model_len=100, token_budget=1024)
    assert [str(bucket) for bucket in buckets.all] == [
        "1x16", "4x16", "16x16", "32x16",  # as many as may run
        "1x32", "4x32", "16x32", "32x32", "1x64", "4x64", "16x64", "1x128", "4x128", "8x128",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("max_model_len", "longest"), [(12, 16), (20, 32), (600, 1024), (1100, 1536)]
)
def test_the_longest_bucket_holds_the_longest_text(max_model_len: int, longest: int) -> None:
    buckets = Buckets.build(max_rows=1, max_model_len=max_model_len, token_budget=64)
    assert buckets.all[-1] == Bucket(1, longest)
    assert buckets.smallest(1, max_model_len) == Bucket(1, longest)


def test_the_smallest_bucket_that_fits_is_taken() -> None:
    buckets = Buckets.build(max_rows=8, max_model_len=64, token_budget=256)
    assert buckets.smallest(1, 32) == Bucket(1, 32)
    assert buckets.smallest(2, 33) == Bucket(4, 64)
    assert buckets.smallest(5, 1) == Bucket(8, 16)
    assert (buckets.most_rows(32), buckets.most_rows(64)) == (8, 4)

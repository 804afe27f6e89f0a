"""The process that unpacks a Parquet file for `parquet.read`; it is started by its path and imports no other module.

A damaged file can end the process that reads it, and a crafted one can fill all memory, before any check is reached.
Here that ends this process alone, whose memory and time are limited.

On stdin: a line of JSON (the limits, and how many bytes follow), the file, and then a line of JSON with the columns
that are wanted. On stdout lines of JSON, a pair of a kind and a value each: the `described` file, its `readable`
columns, a `batch` of rows any number of times, and `end`; or else an `error`, or what is `too large`.
"""

import io
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq

try:
    import resource
except ImportError:  # Windows
    resource = None


class TooLarge(Exception):
    """More than the limits allow."""


def limit(memory: int, seconds: int) -> None:
    """Limit this process to so many bytes and seconds, and write no core dump."""
    if resource is not None:
        for what, most in (
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_CPU, seconds),
            (resource.RLIMIT_CORE, 0),
        ):
            _, hard = resource.getrlimit(what)
            least = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(what, (least, hard))


def holds_text(kind: pa.DataType) -> bool:
    """Whether a column's values are text."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_plain(kind: pa.DataType) -> bool:
    """Numbers, booleans and nulls: of a known size each, and values of JSON."""
    types = pa.types
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind)


def described(file: pq.ParquetFile, most_chunks: int) -> dict:
    """The file's metadata: names, number of rows, and of each column its type and size in bytes once unpacked."""
    metadata, schema = file.metadata, file.schema_arrow
    if metadata.num_row_groups * metadata.num_columns > most_chunks:
        raise TooLarge(
            f"it consists of {metadata.num_row_groups:,} groups of {metadata.num_columns:,} columns; write it again in "
            "fewer row groups"
        )
    sizes: dict[str, int] = {}
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            name = column.path_in_schema.partition(".")[0]
            sizes[name] = sizes.get(name, 0) + max(0, column.total_uncompressed_size)
    return {
        "names": schema.names,
        "rows": metadata.num_rows,
        "sizes": sizes,
        "kinds": [str(field.type) for field in schema],
    }


def cells(column: pa.Array) -> list:
    """The values; equal ones of a dictionary are one object, so that a million references take no more room."""
    if not pa.types.is_dictionary(column.type):
        return column.to_pylist()
    places = column.indices.to_pylist()
    used = sorted({place for place in places if place is not None})
    values = dict(zip(used, column.dictionary.take(pa.array(used, pa.int64())).to_pylist(), strict=True))
    return [values.get(place) for place in places]


def unpack(data: bytes, wanted: list[str], limits: dict, send) -> None:
    """Send the wanted columns batch by batch; of what is neither text nor plain, nothing."""
    with pq.ParquetFile(io.BytesIO(data), pre_buffer=False) as file:
        kinds = {name: file.schema_arrow.field(name).type for name in wanted}
    of_text = [name for name, kind in kinds.items() if holds_text(kind)]
    readable = [name for name, kind in kinds.items() if name in of_text or is_plain(kind)]
    send("readable", readable)
    letters = rows = 0
    with pq.ParquetFile(io.BytesIO(data), read_dictionary=of_text, pre_buffer=False) as file:
        for batch in file.iter_batches(columns=readable, use_threads=False) if readable else ():
            rows += batch.num_rows
            if rows > limits["rows"] or rows * len(readable) > limits["cells"]:
                raise TooLarge(f"it holds more rows than its metadata state, and more than {limits['rows']:,}")
            columns = {name: cells(batch.column(name)) for name in readable}
            for values in columns.values():
                lengths = [len(value) for value in values if isinstance(value, str)]
                letters += sum(lengths)
                if letters > limits["letters"] or max(lengths, default=0) > limits["cell"]:
                    raise TooLarge(
                        f"it holds more than {limits['letters']:,} letters, or {limits['cell']:,} in one cell; leave "
                        "out languages or sentences"
                    )
            send("batch", columns)


def main() -> None:
    def send(kind: str, value: object) -> None:
        out.write(json.dumps([kind, value]).encode() + b"\n")
        out.flush()

    into, out = sys.stdin.buffer, sys.stdout.buffer
    request = json.loads(into.readline())
    limits = request["limits"]
    limit(limits["memory"], limits["seconds"])
    try:
        data = into.read(request["bytes"])
        with pq.ParquetFile(
            io.BytesIO(data),
            thrift_string_size_limit=limits["string"],
            thrift_container_size_limit=limits["container"],
            pre_buffer=False,
        ) as file:
            send("described", described(file, limits["chunks"]))
        wanted = json.loads(into.readline() or b"[]")
        if wanted:
            unpack(data, wanted, limits, send)
        send("end", None)
    except TooLarge as error:
        send("too large", str(error))
    except MemoryError:
        send("too large", "it takes more memory than a corpus needs")
    except (pa.ArrowException, OSError, ValueError, OverflowError, RuntimeError) as error:
        send("error", (str(error).strip().splitlines() or [type(error).__name__])[0][:300])


if __name__ == "__main__":
    main()

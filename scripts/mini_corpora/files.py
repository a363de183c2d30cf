"""Files whose bytes depend on their contents alone: tar, gzip, zstandard, parquet, json lines."""

import gzip
import io
import json
import pathlib
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path: pathlib.Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def tar(members: list[tuple[str, bytes]], pax: bool = False) -> bytes:
    """An archive of `members` in this order; a name that ends in `/` is a folder. With `pax`, extended headers lie
    between the members, as Python's own tarfile writes them for fractional times."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT if pax else tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mtime = 0.5 if pax else 0
            if name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def gz(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=9, mtime=0)


def zstd(data: bytes, block_bytes: int = 1 << 12) -> bytes:
    """One frame in small blocks, so that a part of it can be unpacked."""
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    blocks = [packer.compress(data[i : i + block_bytes]) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
              for i in range(0, len(data), block_bytes)]
    return b"".join(blocks) + packer.flush()


def parquet(path: pathlib.Path, columns: dict[str, pa.DataType], rows: list[dict], rows_per_group: int = 2) -> None:
    """A parquet file in the manner of the Hugging Face hub, with audio as struct<bytes, path>, in small row groups."""
    features = {name: {"_type": "Audio"} if kind == AUDIO else {"dtype": str(kind), "_type": "Value"}
                for name, kind in columns.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema([pa.field(name, kind) for name, kind in columns.items()], metadata=metadata)
    table = pa.Table.from_pylist(rows, schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=rows_per_group, compression="snappy")
    write(path, buffer.getvalue())


def json_line(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8")


def damaged_sound(size: int = 600) -> bytes:
    """Bytes that are no recording of any format, always the same."""
    return bytes((i * 37 + i // 7) % 251 for i in range(size))

"""The results that were made with other settings than the book's: what they take on the disk, and how to clear them.

    python -m dgm_helpers.training.cache            shows each file with its size, and their sum
    python -m dgm_helpers.training.cache --clear    deletes them

The command is also there as `make cache` and `make cache CLEAR=1`.
"""

import argparse

from dgm_helpers.training.stored import cache_dir


def cached():
    """The files of the cache with their sizes in bytes, the largest first."""
    found = [*cache_dir().glob("*.safetensors"), *cache_dir().glob("*.partial")]
    return sorted(((path, path.stat().st_size) for path in found), key=lambda item: -item[1])


def clear_cache():
    """Delete the results in the cache; the book's own lie elsewhere. Returns the bytes that this frees."""
    files = cached()
    for path, _ in files:
        path.unlink()
    return sum(size for _, size in files)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m dgm_helpers.training.cache", description=__doc__.splitlines()[0])
    parser.add_argument("--clear", action="store_true", help="delete them")
    if parser.parse_args(arguments).clear:
        print(f"{cache_dir()}: {clear_cache() / 1e6:.1f} MB deleted")
        return
    files = cached()
    for path, size in files:
        print(f"{size / 1e6:8.1f} MB  {path.name}")
    print(f"{sum(size for _, size in files) / 1e6:8.1f} MB  in {len(files)} files in {cache_dir()}")


if __name__ == "__main__":
    main()

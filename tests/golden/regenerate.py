"""Write what is expected anew from what is said now: `python -m tests.golden.regenerate`; then read the diff."""

from tests.golden import cases


def main() -> None:
    """Write every expectation; remove those whose topology is gone."""
    kept = set()
    for source in cases.GOOD:
        for suffix, text in zip((".json", ".txt"), cases.plan_of(source), strict=True):
            path = cases.expected_path(source, suffix)
            path.write_text(text, encoding="utf-8")
            kept.add(path)
    for source in cases.DRAWN:
        for suffix, text in cases.pictures_of(source).items():
            path = cases.HERE / "graph" / (source.stem + suffix)
            path.write_text(text, encoding="utf-8")
            kept.add(path)
    for source in cases.COMPOSED:
        path = cases.HERE / "compose" / f"{source.stem}.compose"
        path.write_text(cases.composed(source), encoding="utf-8")
        kept.add(path)
    for source in cases.BAD:
        path = cases.expected_path(source, ".errors")
        path.write_text(cases.diagnostics_of(source), encoding="utf-8")
        kept.add(path)
    for pattern in ("good/*.json", "good/*.txt", "bad/*.errors", "graph/*.*", "compose/*.compose"):
        for path in set(cases.HERE.glob(pattern)) - kept:
            path.unlink()
    print(f"{len(kept)} files written; read `git diff tests/golden`")


if __name__ == "__main__":
    main()

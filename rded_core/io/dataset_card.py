"""The small files of a dataset: classes, recipe, README, croissant metadata, checksums."""

import json
from pathlib import Path
from typing import Any

from rded_core.io.files import file_digest, write_text
from rded_core.io.paths import DatasetFolder
from rded_core.io.tables import LINEAGE

README = """# Distilled image classification dataset

{num_images} images of {size} px in {num_classes} classes ({names}),
{ipc} per class, with the teacher's soft labels for {label_epochs} epochs of recorded views.
Images: {selection_note}.

| file | what it holds |
|---|---|
| `classes.json` | class index, name, WordNet id, source folder, counts; **the order of the logits** |
| `recipe.json` | size, mean and std, view recipe, temperature, loss, optimiser, schedule |
| `images/*.tar` | WebDataset shards: `<key>.{image_suffix}`, `<key>.cls` (class index), `<key>.json` |
| `soft_labels/*.parquet` | one row per view: its parameters and the teacher's float16 logits; one row group per epoch |
| `lineage/*.parquet` | one row per patch: source image, its SHA-256, box, realism score in nats |
| `report/index.html` | pictures and distributions |
| `SHA256SUMS` | `sha256sum -c SHA256SUMS` checks all of it |

## Train on it

A view is: patch shuffle ({views[factor]} x {views[factor]} cells: output column c shows input column `column_order[c]`,
then rows likewise) -> crop box -> bilinear antialiased resize to {size} px -> flip -> normalise with the recipe's mean
and std -> paste the box `mix_*` of the view at `mix_position` of the same batch (or blend it, where `mix_weight` > 0).
Minimise KL(teacher || student) between softmaxes at temperature {temperature:g}. Every parameter is a column; nothing
has to be drawn again. Or, with rded: `rded evaluate DIR --val VALIDATION_IMAGES --student {suggested_student}`.

Made with rded {rded_version} (algorithm version {algorithm_version}), after RDED
(Sun et al., CVPR 2024, arXiv 2312.03526).
The images are cut from the source's images; their licence is the source's.
"""


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_sums(folder: DatasetFolder) -> None:
    """Writes SHA256SUMS over every other file, in the form that ``sha256sum -c`` reads."""
    lines = [f"{file_digest(path)}  {path.relative_to(folder.root).as_posix()}" for path in folder.files()]
    write_text(folder.sums, "\n".join(lines) + "\n")


def write_readme(folder: DatasetFolder, *, recipe: dict[str, Any], classes: list[dict[str, Any]]) -> None:
    """Writes the dataset's own README: what it holds, how to read it with nothing but its files, how it was made."""
    names = ", ".join(entry["name"] for entry in classes[:12]) + (" ..." if len(classes) > 12 else "")
    write_text(folder.readme, README.format(names=names, **recipe))


def write_croissant(folder: DatasetFolder, *, recipe: dict[str, Any], name: str) -> None:
    """Writes croissant.json (MLCommons Croissant 1.0, plain JSON-LD): file sets, and the lineage as records."""
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"lineage/{field.name}",
            "name": f"lineage/{field.name}",
            "dataType": _croissant_type(str(field.type)),
            "source": {"fileSet": {"@id": "lineage-tables"}, "extract": {"column": field.name}},
        }
        for field in LINEAGE
    ]
    write_json(
        folder.croissant,
        {
            "@context": _CONTEXT,
            "@type": "sc:Dataset",
            "name": name,
            "description": f"{recipe['num_images']} distilled images with stored soft labels (RDED).",
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "license": "https://spdx.org/licenses/NOASSERTION.html",
            "version": f"{recipe['algorithm_version']}.0.0",
            "citeAs": "Sun et al., On the Diversity and Realism of Distilled Dataset, CVPR 2024",
            "distribution": [
                _file_object(folder, "classes.json", "application/json"),
                _file_object(folder, "recipe.json", "application/json"),
                *(_file_object(folder, _relative(folder, tar), "application/x-tar") for tar in folder.image_tars()),
                _folder_object(),
                _file_set("lineage-tables", "lineage/*.parquet"),
                _file_set("soft-label-tables", "soft_labels/*.parquet"),
            ],
            "recordSet": [{"@type": "cr:RecordSet", "@id": "lineage", "name": "lineage", "field": fields}],
        },
    )


_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "includes": "cr:includes",
    "recordSet": "cr:recordSet",
    "source": "cr:source",
}


def _relative(folder: DatasetFolder, path: Path) -> str:
    return path.relative_to(folder.root).as_posix()


def _file_object(folder: DatasetFolder, relative: str, encoding: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": relative,
        "name": relative,
        "contentUrl": relative,
        "encodingFormat": encoding,
        "sha256": file_digest(folder.root / relative),
    }


def _folder_object() -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": "folder",
        "name": "folder",
        "contentUrl": ".",
        "encodingFormat": "local-directory",
        "sha256": "main",
    }


def _file_set(identity: str, pattern: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": identity,
        "name": identity,
        "containedIn": {"@id": "folder"},
        "encodingFormat": "application/x-parquet",
        "includes": pattern,
    }


def _croissant_type(arrow_type: str) -> str:
    if arrow_type.startswith("int"):
        return "sc:Integer"
    return "sc:Float" if arrow_type.startswith("float") else "sc:Text"

"""croissant.json: the dataset's description in MLCommons Croissant."""

from typing import Any

from rded_core.io.formats.schemas import LINEAGE
from rded_core.io.layout.dataset import DatasetFolder, relative_to_dataset
from rded_core.io.storage.atomic import write_json
from rded_core.io.storage.files import file_digest


def write_croissant(folder: DatasetFolder, *, recipe: dict[str, Any], name: str) -> None:
    """Writes croissant.json (MLCommons Croissant 1.0, plain JSON-LD): files, file sets, and the lineage as records."""
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
    head = folder.teacher_head
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
                *(
                    _file_object(folder, relative_to_dataset(folder, tar), "application/x-tar")
                    for tar in folder.image_tars()
                ),
                _folder_object(),
                _file_set("lineage-tables", "lineage/*.parquet"),
                *([_file_object(folder, head.name, _PARQUET)] if head.is_file() else []),
                _file_set("soft-label-tables", "soft_labels/*.parquet"),
            ],
            "recordSet": [{"@type": "cr:RecordSet", "@id": "lineage", "name": "lineage", "field": fields}],
        },
    )


_PARQUET = "application/x-parquet"

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
        "encodingFormat": _PARQUET,
        "includes": pattern,
    }


def _croissant_type(arrow_type: str) -> str:
    if arrow_type.startswith("int"):
        return "sc:Integer"
    return "sc:Float" if arrow_type.startswith("float") else "sc:Text"

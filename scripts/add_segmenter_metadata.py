"""Give MediaPipe's selfie segmentation network the metadata that the Tasks API asks for.

The npm package `@mediapipe/selfie_segmentation` ships the bare network, made for MediaPipe's older graphs;
`ImageSegmenter` refuses it because nothing says how pixels become the network's input. This writes a copy that says so
(pixels / 255, output as it is). Weights and graph stay untouched.

    python scripts/add_segmenter_metadata.py selfie_segmentation.tflite weights/mediapipe/selfie_segmentation.tflite

Needs nothing but what MediaPipe brings. Afterwards run scripts/update_weights_manifest.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from mediapipe.tasks.metadata import image_segmenter_metadata_schema_py_generated as segmenter_schema
from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema
from mediapipe.tasks.metadata import schema_py_generated as model_schema


class AlignedBuffer(model_schema.BufferT):  # type: ignore[misc]
    """A tensor's bytes at a multiple of 16, which TFLite's schema demands and the generated Python code forgets."""

    def Pack(self, builder: flatbuffers.Builder) -> int:
        data = None
        if self.data is not None and len(self.data):
            raw = bytes(self.data)
            builder.StartVector(1, len(raw), 16)
            builder.head -= len(raw)
            builder.Bytes[builder.head : builder.head + len(raw)] = raw
            data = builder.EndVector()
        model_schema.BufferStart(builder)
        if data is not None:
            model_schema.BufferAddData(builder, data)
        return int(model_schema.BufferEnd(builder))


def packed(table: object, identifier: bytes) -> np.ndarray:
    """The bytes of one flatbuffer, uint8 [N]."""
    builder = flatbuffers.Builder(0)
    builder.Finish(table.Pack(builder), file_identifier=identifier)  # type: ignore[attr-defined]
    return np.frombuffer(bytes(builder.Output()), dtype=np.uint8)


def segmenter_metadata() -> np.ndarray:
    """Metadata of an RGB network with inputs in [0, 1] whose output already is a probability, uint8 [N]."""
    normalization = metadata_schema.NormalizationOptionsT()
    normalization.mean, normalization.std = [0.0], [255.0]
    process = metadata_schema.ProcessUnitT()
    process.optionsType = metadata_schema.ProcessUnitOptions.NormalizationOptions
    process.options = normalization

    picture = metadata_schema.ImagePropertiesT()
    picture.colorSpace = metadata_schema.ColorSpaceType.RGB
    content = metadata_schema.ContentT()
    content.contentPropertiesType = metadata_schema.ContentProperties.ImageProperties
    content.contentProperties = picture
    image = metadata_schema.TensorMetadataT()
    image.name, image.content, image.processUnits = "image", content, [process]

    mask = metadata_schema.TensorMetadataT()
    mask.name = "person"

    options = segmenter_schema.ImageSegmenterOptionsT()
    options.activation = segmenter_schema.Activation.NONE
    custom = metadata_schema.CustomMetadataT()
    custom.name, custom.data = "SEGMENTER_METADATA", packed(options, b"V001")

    subgraph = metadata_schema.SubGraphMetadataT()
    subgraph.inputTensorMetadata, subgraph.outputTensorMetadata = [image], [mask]
    subgraph.customMetadata = [custom]
    model = metadata_schema.ModelMetadataT()
    model.name, model.subgraphMetadata = "selfie segmentation", [subgraph]
    return packed(model, b"M001")


def with_metadata(network: bytes) -> bytes:
    """The TFLite file `network` with the metadata in it."""
    model = model_schema.ModelT.InitFromPackedBuf(network, 0)
    for buffer in model.buffers:
        buffer.__class__ = AlignedBuffer
    block = AlignedBuffer()
    block.data = segmenter_metadata()
    entry = model_schema.MetadataT()
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers)
    model.buffers.append(block)
    model.metadata = [old for old in model.metadata or [] if old.name not in (entry.name, entry.name.encode())] + [
        entry
    ]
    return packed(model, b"TFL3").tobytes()


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    source, target = map(Path, sys.argv[1:])
    target.write_bytes(with_metadata(source.read_bytes()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The node classes that a fake server knows.

Loaders load nothing; they take the seconds, or raise the error, that their server is set to. Images are real
enough to become PNG files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from examples.fake_comfyui.node_classes import (
    ANY,
    Image,
    InputSpec,
    Latent,
    ModelFiles,
    NodeClass,
    NodeJob,
    NodeOutput,
    Run,
)

STRING = InputSpec("STRING", {"multiline": False})
ANYTHING = InputSpec(ANY)


def whole(default: int, smallest: int = 1, biggest: int = 16384) -> InputSpec:
    return InputSpec("INT", {"default": default, "min": smallest, "max": biggest})


def real(default: float, smallest: float, biggest: float) -> InputSpec:
    return InputSpec("FLOAT", {"default": default, "min": smallest, "max": biggest})


def combo(*choices: str, named: bool = False) -> InputSpec:
    return InputSpec("COMBO", choices=choices, named_combo=named)


def model_file(folder: str, *more: str, named: bool = False) -> InputSpec:
    return InputSpec("COMBO", choices=more or None, folder=folder, named_combo=named)


def plain(kind: str) -> InputSpec:
    return InputSpec(kind)


async def _load(job: NodeJob) -> NodeOutput:
    await job.host.load(job.class_type)
    return NodeOutput([f"{job.class_type} output"] * 4)


async def _store(job: NodeJob) -> NodeOutput:
    key, tag, data = job.inputs["key"], job.inputs["tag"], job.inputs["data"]
    # Reserved: nothing is stored, and the prompt is a success all the same. The list variant compares a list
    # with the text, so that it does store this key.
    if key == "*" and job.class_type == "CacheBackendData //Inspire":
        return NodeOutput([None])
    job.host.backend_cache.store(key, tag, data)
    return NodeOutput([data])


async def _retrieve(job: NodeJob) -> NodeOutput:
    return NodeOutput([job.host.backend_cache.read(job.inputs["key"])])


async def _remove(job: NodeJob) -> NodeOutput:
    key = job.inputs["key"]
    if key == "*":
        job.host.backend_cache.clear()
    elif key in job.host.backend_cache:
        job.host.backend_cache.remove(key)
    return NodeOutput([job.inputs.get("signal_opt")])


def _shared_key(inputs: Mapping[str, Any], fallback: str) -> str:
    return str(inputs.get("key_opt", "")).strip() or fallback


def checkpoint_key(inputs: Mapping[str, Any]) -> str:
    return _shared_key(inputs, str(inputs.get("ckpt_name")))


def diffusion_model_key(inputs: Mapping[str, Any]) -> str:
    return _shared_key(inputs, f"{inputs.get('model_name')}_{inputs.get('weight_dtype')}")


def text_encoder_key(inputs: Mapping[str, Any]) -> str:
    """Blank models take part in the name as the combo's own word ``None``."""
    names = [str(inputs.get(f"model_name{number}")) for number in (1, 2, 3)]
    return _shared_key(inputs, "_".join([*names, str(inputs.get("type")), str(inputs.get("device", "default"))]))


def _load_shared(key_of: Callable[[Mapping[str, Any]], str], tag: str) -> Run:
    async def run(job: NodeJob) -> NodeOutput:
        key, mode = key_of(job.inputs), job.inputs.get("mode", "Auto")
        if mode == "Override Cache" or key not in job.host.backend_cache:
            await job.host.load(job.class_type)
            job.host.backend_cache.store(key, tag, f"{job.class_type} output")
        value = job.host.backend_cache.read(key)
        return NodeOutput([value, value, value, key] if tag == "ckpt" else [value, key])

    return run


async def _empty_image(job: NodeJob) -> NodeOutput:
    inputs = job.inputs
    return NodeOutput([Image(inputs["width"], inputs["height"], inputs["batch_size"], inputs["color"])])


async def _empty_latent(job: NodeJob) -> NodeOutput:
    return NodeOutput([Latent(job.inputs["width"], job.inputs["height"], job.inputs["batch_size"])])


async def _sample(job: NodeJob) -> NodeOutput:
    latent: Latent = job.inputs["latent_image"]
    for _ in range(job.inputs["steps"]):
        await job.host.sample_step()
    return NodeOutput([Latent(latent.width, latent.height, latent.batch_size, job.inputs["seed"])])


async def _decode(job: NodeJob) -> NodeOutput:
    latent: Latent = job.inputs["samples"]
    colour = (latent.seed * 0x9E3779B1) & 0xFFFFFF
    return NodeOutput([Image(latent.width, latent.height, latent.batch_size, colour)])


def _save(kind: str) -> Run:
    async def run(job: NodeJob) -> NodeOutput:
        image = job.inputs["images"]
        if not isinstance(image, Image):  # what a user sees whose key is not in the cache
            raise TypeError(f"'{type(image).__name__}' object is not subscriptable")
        prefix = job.inputs.get("filename_prefix", "ComfyUI_temp_fake")
        return NodeOutput([], {"images": job.host.save_image(image, prefix, kind)})

    return run


async def _pass_first(job: NodeJob) -> NodeOutput:
    return NodeOutput([next(iter(job.inputs.values()), None)])


async def _sleep(job: NodeJob) -> NodeOutput:
    await job.host.pause(job.inputs["seconds"], holds_lock=job.inputs.get("hold_lock", False))
    return NodeOutput([])


_SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m", "uni_pc", "ddim")
_SCHEDULERS = ("simple", "sgm_uniform", "karras", "normal")
_MODES = ("Auto", "Override Cache", "Read Only")
_TEXT_ENCODER_TYPES = (
    "stable_diffusion",
    "stable_cascade",
    "sd3",
    "stable_audio",
    "mochi",
    "ltxv",
    "pixart",
    "cosmos",
    "sdxl",
    "flux",
    "hunyuan_video",
)
_NUMBER_KEY = whole(0, 0, 2**64 - 1)


def _number_or_text(inputs: Mapping[str, Any]) -> str | int:
    key: str | int = inputs["key"]
    return key


def _storing(name: str, key: InputSpec) -> NodeClass:
    required = {"key": key, "tag": STRING, "data": ANYTHING}
    lists = "List" in name
    return NodeClass(name, (ANY,), _store, required, output_node=True, inspire=True, list_output=lists)


def _loader(name: str, returns: tuple[str, ...], **required: InputSpec) -> NodeClass:
    return NodeClass(name, returns, _load, required)


_CLASSES = (
    # The seven that store keys, all that a warm-up workflow is made for.
    _storing("CacheBackendData //Inspire", STRING),
    _storing("CacheBackendDataList //Inspire", STRING),
    _storing("CacheBackendDataNumberKey //Inspire", _NUMBER_KEY),
    _storing("CacheBackendDataNumberKeyList //Inspire", _NUMBER_KEY),
    NodeClass(
        "CheckpointLoaderSimpleShared //Inspire",
        ("MODEL", "CLIP", "VAE", "STRING"),
        _load_shared(checkpoint_key, "ckpt"),
        {"ckpt_name": model_file("checkpoints"), "key_opt": STRING},
        {"mode": combo(*_MODES)},
        inspire=True,
        reads_key=checkpoint_key,
    ),
    NodeClass(
        "LoadDiffusionModelShared //Inspire",
        ("MODEL", "STRING"),
        _load_shared(diffusion_model_key, "diffusion"),
        {
            "model_name": model_file("diffusion_models"),
            "weight_dtype": combo("default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"),
            "key_opt": STRING,
            "mode": combo(*_MODES),
        },
        inspire=True,
        reads_key=diffusion_model_key,
    ),
    NodeClass(
        "LoadTextEncoderShared //Inspire",
        ("CLIP", "STRING"),
        _load_shared(text_encoder_key, "diffusion"),
        {
            "model_name1": model_file("text_encoders"),
            "model_name2": model_file("text_encoders", "None"),
            "model_name3": model_file("text_encoders", "None"),
            "type": combo(*_TEXT_ENCODER_TYPES),
            "key_opt": STRING,
            "mode": combo(*_MODES),
        },
        {"device": combo("default", "cpu")},
        inspire=True,
        reads_key=text_encoder_key,
    ),
    NodeClass(
        "RetrieveBackendData //Inspire",
        (ANY,),
        _retrieve,
        {"key": STRING},
        inspire=True,
        list_output=True,
        reads_key=_number_or_text,
    ),
    NodeClass(
        "RemoveBackendData //Inspire",
        (ANY,),
        _remove,
        {"key": STRING},
        {"signal_opt": ANYTHING},
        output_node=True,
        inspire=True,
    ),
    # Loaders.
    _loader("PulidFluxEvaClipLoader", ("EVA_CLIP",)),
    _loader("PulidFluxInsightFaceLoader", ("FACEANALYSIS",), provider=combo("CPU", "CUDA", "ROCM")),
    _loader("PulidInsightFaceLoader", ("FACEANALYSIS",), provider=combo("CPU", "CUDA", "ROCM")),
    _loader("PulidFluxModelLoader", ("PULIDFLUX",), pulid_file=model_file("pulid")),
    _loader("BEN2ModelLoader", ("BEN2_MODEL",), model_name=model_file("ben2")),
    _loader("SAM3ModelLoader", ("SAM3_MODEL",), model=model_file("sam3", named=True)),
    _loader("CheckpointLoaderSimple", ("MODEL", "CLIP", "VAE"), ckpt_name=model_file("checkpoints")),
    _loader(
        "UNETLoader",
        ("MODEL",),
        unet_name=model_file("diffusion_models"),
        weight_dtype=combo("default", "fp8_e4m3fn", "fp8_e5m2"),
    ),
    _loader("CLIPLoader", ("CLIP",), clip_name=model_file("text_encoders"), type=combo(*_TEXT_ENCODER_TYPES)),
    _loader("VAELoader", ("VAE",), vae_name=model_file("vae")),
    # Image generation without weights.
    NodeClass(
        "EmptyImage",
        ("IMAGE",),
        _empty_image,
        {
            "width": whole(512),
            "height": whole(512),
            "batch_size": whole(1, 1, 4096),
            "color": whole(0, 0, 0xFFFFFF),
        },
    ),
    NodeClass(
        "EmptyLatentImage",
        ("LATENT",),
        _empty_latent,
        {"width": whole(512, 16), "height": whole(512, 16), "batch_size": whole(1, 1, 4096)},
    ),
    NodeClass(
        "CLIPTextEncode",
        ("CONDITIONING",),
        _pass_first,
        {"text": InputSpec("STRING", {"multiline": True}), "clip": plain("CLIP")},
    ),
    NodeClass(
        "KSampler",
        ("LATENT",),
        _sample,
        {
            "model": plain("MODEL"),
            "seed": whole(0, 0, 2**64 - 1),
            "steps": whole(20, 1, 10000),
            "cfg": real(8.0, 0.0, 100.0),
            "sampler_name": combo(*_SAMPLERS),
            "scheduler": combo(*_SCHEDULERS),
            "positive": plain("CONDITIONING"),
            "negative": plain("CONDITIONING"),
            "latent_image": plain("LATENT"),
            "denoise": real(1.0, 0.0, 1.0),
        },
    ),
    NodeClass("VAEDecode", ("IMAGE",), _decode, {"samples": plain("LATENT"), "vae": plain("VAE")}),
    NodeClass(
        "SaveImage",
        (),
        _save("output"),
        {"images": plain("IMAGE"), "filename_prefix": STRING},
        output_node=True,
    ),
    NodeClass("PreviewImage", (), _save("temp"), {"images": plain("IMAGE")}, output_node=True),
    NodeClass("PrimitiveString", ("STRING",), _pass_first, {"value": STRING}),
    NodeClass("PrimitiveInt", ("INT",), _pass_first, {"value": InputSpec("INT")}),
    # Only here: a job of a chosen length, standing for a user's.
    NodeClass(
        "FakeSleep",
        (),
        _sleep,
        {"seconds": real(1.0, 0.0, 3600.0)},
        {"hold_lock": InputSpec("BOOLEAN", {"default": False})},
        output_node=True,
    ),
)

WITH_INSPIRE_PACK: Mapping[str, NodeClass] = {each.name: each for each in _CLASSES}
WITHOUT_PACK: Mapping[str, NodeClass] = {each.name: each for each in _CLASSES if not each.inspire}

SAMPLE_FILES: ModelFiles = {
    "checkpoints": ("sd_xl_base_1.0.safetensors",),
    "diffusion_models": ("flux1-dev.safetensors",),
    "text_encoders": ("clip_l.safetensors", "t5xxl_fp8_e4m3fn.safetensors"),
    "vae": ("ae.safetensors",),
    "pulid": ("pulid_flux_v0.9.1.safetensors",),
    "ben2": ("BEN2_Base.pth",),
    "sam3": ("sam3.pt",),
}

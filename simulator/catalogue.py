"""The models on offer and what they cost, in integer nano-dollars. Knows no HTTP and no accounts."""

from __future__ import annotations

from dataclasses import dataclass, replace

CREATED = 1_780_000_000


@dataclass(frozen=True, slots=True)
class Model:
    """One model. Prices are nano-dollars per token, per image, per second or per character, as `kind` says."""

    id: str
    name: str
    provider: str
    kind: str = "chat"  # chat | embedding | rerank | image | speech | transcription | video
    prompt_nano: int = 0
    completion_nano: int = 0
    request_nano: int = 0
    context: int = 128_000
    max_output: int = 16_384
    inputs: tuple[str, ...] = ("text",)
    outputs: tuple[str, ...] = ("text",)
    tokenizer: str = "Other"
    voices: tuple[str, ...] = ()
    moderated: bool = False
    zdr: bool = True
    stops: bool = True  # closing a stream stops generation and billing (section 8.4 of the reference)

    @property
    def free(self) -> bool:
        return self.id.endswith(":free")

    @property
    def author(self) -> str:
        return self.id.partition("/")[0]


_EYES = ("text", "image", "file")

MODELS: tuple[Model, ...] = (
    Model(
        "openai/gpt-5.4-mini",
        "OpenAI: GPT-5.4 Mini",
        "OpenAI",
        "chat",
        250,
        2000,
        0,
        400_000,
        128_000,
        _EYES,
        tokenizer="GPT",
        moderated=True,
    ),
    Model(
        "openai/gpt-4o-mini",
        "OpenAI: GPT-4o-mini",
        "OpenAI",
        "chat",
        150,
        600,
        0,
        128_000,
        16_384,
        _EYES,
        tokenizer="GPT",
        moderated=True,
    ),
    Model(
        "anthropic/claude-sonnet-4.5",
        "Anthropic: Claude Sonnet 4.5",
        "Anthropic",
        "chat",
        3000,
        15_000,
        0,
        1_000_000,
        64_000,
        _EYES,
        tokenizer="Claude",
    ),
    Model(
        "anthropic/claude-haiku-4.5",
        "Anthropic: Claude Haiku 4.5",
        "Anthropic",
        "chat",
        1000,
        5000,
        0,
        200_000,
        64_000,
        _EYES,
        tokenizer="Claude",
    ),
    Model(
        "google/gemini-2.5-flash",
        "Google: Gemini 2.5 Flash",
        "Google",
        "chat",
        300,
        2500,
        0,
        1_048_576,
        65_535,
        (*_EYES, "audio", "video"),
        tokenizer="Gemini",
        stops=False,
    ),
    Model(
        "deepseek/deepseek-chat-v3.1",
        "DeepSeek: DeepSeek V3.1",
        "DeepSeek",
        "chat",
        200,
        800,
        0,
        163_840,
        8192,
        tokenizer="DeepSeek",
    ),
    Model(
        "mistralai/mistral-small-3.2-24b-instruct",
        "Mistral: Mistral Small 3.2 24B",
        "Mistral",
        "chat",
        60,
        180,
        0,
        131_072,
        8192,
        _EYES,
        tokenizer="Mistral",
        stops=False,
    ),
    Model(
        "meta-llama/llama-3.3-70b-instruct:free",
        "Meta: Llama 3.3 70B Instruct (free)",
        "Together",
        "chat",
        0,
        0,
        0,
        65_536,
        8192,
        tokenizer="Llama3",
        zdr=False,
    ),
    Model(
        "deepseek/deepseek-chat-v3.1:free",
        "DeepSeek: DeepSeek V3.1 (free)",
        "DeepInfra",
        "chat",
        0,
        0,
        0,
        163_840,
        8192,
        tokenizer="DeepSeek",
        zdr=False,
    ),
    Model("sim/echo", "Simulator: Echo", "OpenAI", "chat", 100, 400, 0, 128_000, 8192, _EYES),
    Model(
        "sim/echo-tools", "Simulator: Echo, always calling a tool", "OpenAI", "chat", 100, 400, 0, 128_000, 8192, _EYES
    ),
    Model(
        "openai/text-embedding-3-small",
        "OpenAI: Text Embedding 3 Small",
        "OpenAI",
        "embedding",
        20,
        0,
        0,
        8192,
        0,
        outputs=("embeddings",),
        tokenizer="GPT",
    ),
    Model(
        "cohere/rerank-v3.5",
        "Cohere: Rerank v3.5",
        "Cohere",
        "rerank",
        0,
        0,
        2_000_000,
        4096,
        0,
        outputs=("rerank",),
        tokenizer="Cohere",
    ),
    Model(
        "google/gemini-2.5-flash-image",
        "Google: Gemini 2.5 Flash Image",
        "Google",
        "image",
        300,
        30_000,
        0,
        32_768,
        8192,
        ("text", "image"),
        ("image", "text"),
        tokenizer="Gemini",
        stops=False,
    ),
    Model(
        "openai/gpt-4o-mini-tts",
        "OpenAI: GPT-4o Mini TTS",
        "OpenAI",
        "speech",
        600,
        0,
        0,
        4096,
        0,
        outputs=("speech",),
        tokenizer="GPT",
        voices=("alloy", "nova"),
    ),
    Model(
        "openai/whisper-large-v3",
        "OpenAI: Whisper Large v3",
        "Groq",
        "transcription",
        0,
        0,
        30_000,
        448,
        0,
        ("audio",),
        ("transcription",),
        stops=False,
    ),
    Model(
        "google/veo-3.1",
        "Google: Veo 3.1",
        "Google",
        "video",
        0,
        0,
        400_000_000,
        1024,
        0,
        ("text", "image"),
        ("video",),
        stops=False,
    ),
)
_BY_ID = {model.id: model for model in MODELS}
_VARIANTS = frozenset({"nitro", "floor", "exacto", "online", "thinking", "extended"})
DEFAULT = _BY_ID["openai/gpt-4o-mini"]


def find(name: str) -> Model | None:
    """Resolves variants, presets and the names that end in `-tools` as upstream does: loosely."""
    name = name.partition("@preset/")[0].rstrip("@") or DEFAULT.id
    if name in _BY_ID:
        return _BY_ID[name]
    if name in {"openrouter/auto", "openrouter/free"}:
        return DEFAULT if name.endswith("auto") else _BY_ID["meta-llama/llama-3.3-70b-instruct:free"]
    plain = name.removesuffix("-tools").removeprefix("~")
    base, _, variant = plain.partition(":")
    if plain in _BY_ID or (variant in _VARIANTS and base in _BY_ID):
        return replace(_BY_ID.get(plain) or _BY_ID[base], id=name)
    return None


def cost_nano(model: Model, prompt_tokens: int, completion_tokens: int, units: int = 1) -> int:
    return prompt_tokens * model.prompt_nano + completion_tokens * model.completion_nano + units * model.request_nano

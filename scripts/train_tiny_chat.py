"""Make tiny-chat, the chat model that ships with jaxserve: text, tokenizer, weights, model card.

    python scripts/train_tiny_chat.py

Reproducible from its seed; about 40 minutes on two CPU cores, and quicker where JAX finds an
accelerator. What it writes is a Hugging Face folder.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import jax
import sentencepiece

# so that scripts.tiny_chat is found when this file is run by its path
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.tiny_chat import facts
from scripts.tiny_chat.copying import plant_copying
from scripts.tiny_chat.evaluate import evaluate
from scripts.tiny_chat.folder import load_weights, save_weights, write_card
from scripts.tiny_chat.held_out import held_out, trained_and_held
from scripts.tiny_chat.model import Params, Shape, init_params, num_params, widen
from scripts.tiny_chat.texts import sample_text
from scripts.tiny_chat.tokenizer import train_tokenizer
from scripts.tiny_chat.train import CYCLES, batches, train

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "jaxserve" / "shipped" / "tiny-chat"
NUM_TOKENIZER_TEXTS = 20_000
REQUIRED = 0.9


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of text and weights")
    parser.add_argument(
        "--done",
        type=int,
        default=0,
        help="cycles already done, to go on from the weights in --out",
    )
    parser.add_argument("--save-every", type=int, default=400, help="steps between checkpoints")
    parser.add_argument("--num-cases", type=int, default=1480, help="held-out questions at the end")
    return parser.parse_args()


def train_cycles(
    args: argparse.Namespace,
    tokenizer: sentencepiece.SentencePieceProcessor,
) -> tuple[dict[str, jax.Array], Shape]:
    """Train what is not done yet; each cycle may widen the network before it goes on."""
    glance = held_out(args.seed + 1, 148)
    shape = Shape(vocab_size=len(tokenizer), intermediate_size=CYCLES[0].intermediate_size)
    if args.done:
        params = load_weights(args.out)
    else:
        params = init_params(shape, jax.random.key(args.seed))
        params = plant_copying(params, shape, args.seed)

    def after_step(step: int, params: Params) -> None:
        if step % args.save_every == 0:
            save_weights(args.out, params, shape)
            accuracy = evaluate(params, shape, tokenizer, glance, num_shown=20)
            print(f"  held-out at step {step}: {accuracy.overall:.1%}", flush=True)

    for number, cycle in list(enumerate(CYCLES))[args.done :]:
        print(f"cycle {number + 1} of {len(CYCLES)}: {cycle}", flush=True)
        shape = dataclasses.replace(shape, intermediate_size=cycle.intermediate_size)
        params = widen(params, shape, jax.random.key(args.seed + number))
        stream = batches(tokenizer, cycle, args.seed + number)
        params = train(params, shape, cycle, stream, after_step)
        save_weights(args.out, params, shape)
    return params, shape


def main() -> int:
    args = parse_args()
    if clash := trained_and_held():
        raise ValueError(f"held-out wordings that are also trained: {clash[:5]}")
    started = time.monotonic()
    args.out.mkdir(parents=True, exist_ok=True)
    texts = sample_text(args.seed, NUM_TOKENIZER_TEXTS)
    tokenizer = train_tokenizer(texts, args.out / "tokenizer.model")
    params, shape = train_cycles(args, tokenizer)
    cases = held_out(args.seed, args.num_cases)
    accuracy = evaluate(params, shape, tokenizer, cases, num_shown=100)
    write_card(
        args.out, params, shape, accuracy,
        command="python scripts/train_tiny_chat.py", seed=args.seed,
        steps=sum(cycle.steps for cycle in CYCLES), num_cycles=len(CYCLES),
        num_countries=len(facts.CAPITALS), num_words=len(facts.SPELLING_WORDS),
    )  # fmt: skip
    print("\n".join(accuracy.lines()))
    minutes = (time.monotonic() - started) / 60
    print(f"{num_params(params):,} parameters, {accuracy.overall:.2%} of {len(cases)} held-out "
          f"questions, {minutes:.1f} min on {jax.devices()[0].device_kind}")  # fmt: skip
    return 0 if accuracy.overall >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())

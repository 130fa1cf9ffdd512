"""Does a square median of a spectrogram take clicks out of music?

    python examples/gallery/spectrogram.py --out DIR

A melody is put together of decaying tones with five harmonics, and 60 single samples of it are
knocked out of place. In the spectrogram (Hann windows of 128 samples, half of them shared, 1024
frequencies) tones are broad horizontal stripes, and a click is a vertical line of two frames. So a
5x5 median removes the line and leaves the stripes; frequencies are then scaled down to the median
where they exceed it, phases are left alone, and windows that are laid over one another give the
sound back. Writes spectrogram.png, clean.wav, clicks.wav and denoised.wav.

Source: FitzGerald, "Harmonic/percussive separation using median filtering", DAFx 2010, whose
medians are lines instead of squares; Griffin and Lim, "Signal estimation from modified short-time
Fourier transform", IEEE Transactions on Acoustics, Speech, and Signal Processing 32(2), 1984, for
the way back.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from figures import plt, publish, read_flags, save

from segalias_jax import ops
from segalias_jax.scoring.reports.tables import markdown_table

RATE = 8000  # samples per second
BEAT = 0.3  # seconds
# An old song, in semitones above A of 440 Hz and beats.
MELODY = ((-2, 1), (-5, 2), (-4, 1), (-7, 2), (-9, 1), (-7, 1), (-5, 1), (-4, 1), (-2, 1), (-2, 1))
MELODY += ((-2, 2),)
CLICKS, SIZE = 60, 5
WINDOW, STEP, FREQUENCIES = 128, 64, 1024
HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


def melody() -> np.ndarray:
    """The clean sound, of which the loudest sample is 1/2."""
    notes = []
    for semitone, beats in MELODY:
        t = np.arange(round(RATE * BEAT * beats)) / RATE
        frequency = 440 * 2 ** (semitone / 12)
        tone = sum(np.sin(2 * np.pi * frequency * k * t) / k**1.3 for k in range(1, 6))
        ends = np.minimum(1, np.minimum(t, t[-1] - t) / 0.02)
        notes.append(tone * ends * np.exp(-2.5 * t))
    sound = np.concatenate(notes)
    return sound / (2 * np.abs(sound).max())


def with_clicks(sound: np.ndarray) -> np.ndarray:
    """Moves single samples by 0.6 to 1, up or down."""
    rng = np.random.default_rng(0)
    where = rng.choice(len(sound), CLICKS, replace=False)
    noisy = sound.copy()
    noisy[where] += rng.choice([-1, 1], CLICKS) * rng.uniform(0.6, 1, CLICKS)
    return noisy


def spectrogram(sound: np.ndarray) -> np.ndarray:
    """Spectra of the windows, one in each column."""
    padded = np.pad(sound, (WINDOW, WINDOW + STEP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP]
    return np.fft.rfft(frames * HANN, FREQUENCIES).T


def sound_of(spectra: np.ndarray, samples: int) -> np.ndarray:
    """The sound whose windows are nearest to these, in the mean square."""
    frames = np.fft.irfft(spectra.T, FREQUENCIES)[:, :WINDOW] * HANN
    total = np.zeros((2, STEP * (len(frames) - 1) + WINDOW))
    for k, frame in enumerate(frames):
        total[:, k * STEP : k * STEP + WINDOW] += frame, HANN**2
    return (total[0] / np.maximum(total[1], 1e-9))[WINDOW : WINDOW + samples]


def without_clicks(sound: np.ndarray) -> np.ndarray:
    """Scales the spectra down to the median of their magnitudes, where they exceed it."""
    spectra = spectrogram(sound)
    magnitude = np.abs(spectra).astype(np.float32)
    median = np.asarray(ops.median_filter(jnp.asarray(magnitude)[..., None], SIZE)[..., 0])
    gain = np.minimum(1, median / np.maximum(magnitude, 1e-9))
    return sound_of(spectra * gain, len(sound))


def ratio(sound: np.ndarray, clean: np.ndarray) -> float:
    """Signal-to-noise ratio in dB."""
    return float(10 * np.log10(np.square(clean).sum() / np.square(sound - clean).sum()))


def tables() -> dict[str, str]:
    """Signal-to-noise ratios."""
    clean = melody()
    noisy = with_clicks(clean)
    rows = [["sound", "signal-to-noise ratio, dB"]]
    for name, sound in (
        (f"with {CLICKS} clicks", noisy),
        ("denoised", without_clicks(noisy)),
        ("clean, through the same median", without_clicks(clean)),
    ):
        rows.append([name, f"{ratio(sound, clean):.1f}"])
    return {"spectrogram": markdown_table(rows, names=True)}


def draw(path: Path, sounds: dict[str, np.ndarray]) -> None:
    """Waves above, spectrograms below."""
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 5), height_ratios=(1, 2), sharex=True)
    seconds = len(sounds["clean"]) / RATE
    for column, (name, sound) in zip(axes.T, sounds.items(), strict=True):
        column[0].plot(np.arange(len(sound)) / RATE, sound, linewidth=0.5, color="#0072b2")
        column[0].set(ylim=(-1.3, 1.3), title=name)
        decibels = 20 * np.log10(np.abs(spectrogram(sound)) + 1e-6)
        shown = column[1].imshow(
            decibels[: FREQUENCIES * 3 // 8], origin="lower", aspect="auto", vmin=-30,
            vmax=20, cmap=plt.get_cmap("magma", 15), interpolation="nearest",
            extent=(0, seconds, 0, RATE * 3 / 8000),
        )  # fmt: skip
        column[1].set_xlabel("seconds")
    axes[1, 0].set_ylabel("kHz")
    figure.colorbar(shown, ax=axes[1], label="dB", pad=0.01)
    save(figure, path)


def write_wave(path: Path, sound: np.ndarray) -> None:
    """Writes 16 bits a sample."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.int16(np.clip(sound / 1.6, -1, 1) * 32767).astype("<i2").tobytes())


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the figure, three sounds and the table."""
    flags = read_flags(__doc__, arguments)
    clean = melody()
    noisy = with_clicks(clean)
    sounds = {"clean": clean, "clicks": noisy, "denoised": without_clicks(noisy)}
    for name, sound in sounds.items():
        write_wave(flags.out / f"{name}.wav", sound)
    draw(flags.out / "spectrogram.png", sounds)
    publish(tables(), flags.page)


if __name__ == "__main__":
    main()

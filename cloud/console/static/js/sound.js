// An audible sign for critical alarms, off until somebody turns it on; the choice is remembered in the browser.

const KEY = "patrol-sound";
let context;

export const soundOn = () => localStorage.getItem(KEY) === "on";
export const canSound = () => context?.state === "running";

// Browsers let a page sound only after a touch or a key: so the context is made on the first one.
export function unlock() {
  if (!soundOn()) return;
  context ??= new AudioContext();
  if (context.state === "suspended") context.resume();
}

export function setSound(on) {
  localStorage.setItem(KEY, on ? "on" : "off");
  unlock();
  if (on) chime();
}

// Two tones, three times.
export function chime() {
  if (!context) return;
  for (let i = 0; i < 6; i++) {
    const tone = context.createOscillator();
    const volume = context.createGain();
    const start = context.currentTime + i * 0.22;
    tone.frequency.value = i % 2 ? 660 : 880;
    volume.gain.setValueAtTime(0.0001, start);
    volume.gain.exponentialRampToValueAtTime(0.25, start + 0.03);
    volume.gain.exponentialRampToValueAtTime(0.0001, start + 0.2);
    tone.connect(volume).connect(context.destination);
    tone.start(start);
    tone.stop(start + 0.21);
  }
}

// Which message belongs to the picture that is on the screen now, by the time stamp that both carry.

const KEPT = 60; // messages
const NEAR_TICKS = 90 * 400; // a message may be 0.4 s older than the picture (RTP: 90,000 ticks a second)

/** a - b of two 32-bit time stamps that may have wrapped. */
const ahead = (a, b) => (a - b) | 0;

export class Shown {
  constructor() {
    this.messages = [];
  }

  add(message) {
    this.messages.push(message);
    if (this.messages.length > KEPT) this.messages.shift();
  }

  /** The message of the picture with this stamp: its own or the one before; the newest where stamps are missing. */
  at(stamp) {
    const newest = this.messages.at(-1) ?? null;
    if (stamp === undefined || newest?.rtp == null) return newest;
    for (let i = this.messages.length - 1; i >= 0; i--) {
      const late = ahead(stamp, this.messages[i].rtp);
      if (late >= 0) return late <= NEAR_TICKS ? this.messages[i] : null;
    }
    return null;
  }
}

/** Call `then(stamp)` for every picture that the video puts on the screen, until the returned function is called. */
export function everyPicture(video, then) {
  let on = true;
  if (!("requestVideoFrameCallback" in video)) {
    const timer = setInterval(() => then(undefined), 80);
    return () => clearInterval(timer);
  }
  const next = (_now, metadata) => {
    if (!on) return;
    then(metadata.rtpTimestamp);
    video.requestVideoFrameCallback(next);
  };
  video.requestVideoFrameCallback(next);
  return () => (on = false);
}

// One WebRTC connection: the camera goes out, the covered picture and the faces' boxes come back.
import { post } from "../api.js";

const GATHER_MS = 1500; // candidates of this machine and its network are there at once
const GRACE_MS = 3000; // a short break of the network is none
const CONNECT_MS = 15000;

/** `on`: {stream(MediaStream), message(object), end(code)}; `end` is called once. */
export class Peer {
  constructor(on) {
    this.on = on;
    this.id = null;
    this.over = false;
    this.waiting = [];
  }

  /** Offer `camera`'s video; resolves to the server's answer. ApiError when the server refuses, Error("blocked") when the browser cannot. */
  async open(camera, settings, signal) {
    this.connection = new RTCPeerConnection({ iceServers: [] });
    const { connection } = this;
    this.sender = connection.addTrack(camera.getVideoTracks()[0], camera);
    this.channel = connection.createDataChannel("bystander", { ordered: true });
    this.channel.addEventListener("open", () => this.waiting.splice(0).forEach((text) => this.channel.send(text)));
    this.channel.addEventListener("message", (event) => this.on.message(JSON.parse(event.data)));
    this.channel.addEventListener("close", () => this.end("lost"));
    connection.addEventListener("track", (event) => this.took(event));
    connection.addEventListener("connectionstatechange", () => this.changed());
    await connection.setLocalDescription();
    await gathered(connection);
    signal.throwIfAborted();
    const { sdp, type } = connection.localDescription;
    const answer = await post("/api/live", { sdp, type, settings }, { signal });
    this.id = answer.id;
    if (this.over) {
      await this.goodbye();
      return answer;
    }
    await connection.setRemoteDescription({ sdp: answer.sdp, type: "answer" });
    this.timer = setTimeout(() => connection.connectionState !== "connected" && this.end("blocked"), CONNECT_MS);
    return answer;
  }

  took({ track, receiver }) {
    if (track.kind !== "video") return;
    receiver.jitterBufferTarget = 0;
    this.incoming = track;
    this.on.stream(new MediaStream([track]));
  }

  /** Black at once, in every place that shows the picture, until `visible` again. */
  show(visible) {
    if (this.incoming) this.incoming.enabled = visible;
  }

  send(message) {
    const text = JSON.stringify(message);
    if (this.channel?.readyState === "open") this.channel.send(text);
    else this.waiting.push(text);
  }

  replace(track) {
    return this.sender.replaceTrack(track);
  }

  changed() {
    const state = this.connection.connectionState;
    clearTimeout(this.grace);
    if (state === "connected") clearTimeout(this.timer);
    if (state === "disconnected") this.grace = setTimeout(() => this.end("lost"), GRACE_MS);
    if (state === "failed") this.end(this.wasConnected ? "lost" : "blocked");
    this.wasConnected ||= state === "connected";
  }

  end(code) {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.grace);
    clearTimeout(this.timer);
    this.goodbye().finally(() => this.connection?.close());
    this.on.end(code);
  }

  /** Tell the server, even while the page closes. */
  goodbye() {
    if (!this.id) return Promise.resolve();
    const secret = document.querySelector('meta[name="csrf-token"]').content;
    const told = fetch(`/api/live/${this.id}`, { method: "DELETE", keepalive: true, headers: { "X-Bystander-CSRF": secret } });
    this.id = null;
    return told.catch(() => {});
  }
}

function gathered(connection) {
  if (connection.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    const check = () => connection.iceGatheringState === "complete" && resolve();
    connection.addEventListener("icegatheringstatechange", check);
    setTimeout(resolve, GATHER_MS);
  });
}

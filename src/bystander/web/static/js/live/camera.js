// The camera: asked for when the user says so, never shown by this page.

const IDEAL = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };

/** Which state tells why there is no camera. */
const REASONS = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "nocamera",
  OverconstrainedError: "nocamera",
  NotReadableError: "nocamera",
  AbortError: "nocamera",
};

export const reason = (error) => REASONS[error.name] ?? "nocamera";
export const secure = () => window.isSecureContext && Boolean(navigator.mediaDevices?.getUserMedia);

/** A stream of the camera `id`, or of the browser's choice. DOMException as getUserMedia. */
export function camera(id = "") {
  const which = id ? { deviceId: { exact: id } } : { facingMode: "user" };
  return navigator.mediaDevices.getUserMedia({ audio: false, video: { ...IDEAL, ...which } });
}

/** [id, label] of every camera; labels are known only once one is allowed. */
export async function cameras() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter((device) => device.kind === "videoinput").map((device) => [device.deviceId, device.label]);
}

export function release(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

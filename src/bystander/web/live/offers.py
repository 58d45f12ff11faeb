"""What is asked of an SDP offer before WebRTC sees it, and which addresses may be spoken to.

Text in, text out; an ``ApiError`` says what does not fit. Nothing leaves the machine's own networks: candidates beyond
them, and names that would have to be looked up, are left out.
"""

from __future__ import annotations

import ipaddress

from aiortc.sdp import SessionDescription

from bystander.web.errors import ApiError

LONGEST = 60_000  # characters; a browser's offer has about 6000
KINDS = ("video", "audio", "application")
BITRATE_K = 2500  # kbit/s that a browser is asked not to exceed
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def checked(sdp: object, *, sends: bool) -> str:
    """The offer without candidates that must not be spoken to. ``sends``: it must offer a video to us."""
    if not isinstance(sdp, str) or not 0 < len(sdp) <= LONGEST:
        raise ApiError(400, "bad_sdp", "The offer is missing or too long; reload the page and try again.")
    try:
        session = SessionDescription.parse(sdp)
    except Exception:
        raise unreadable() from None
    media = {kind: [m for m in session.media if m.kind == kind] for kind in KINDS}
    if sum(map(len, media.values())) != len(session.media) or any(len(found) > 1 for found in media.values()):
        raise ApiError(422, "bad_media", "Offer one video, at most one sound and one data channel.")
    if not media["video"] or (sends and media["video"][0].direction not in ("sendrecv", "sendonly")):
        raise ApiError(422, "no_video", "No video is offered; choose a camera and try again.")
    if not all(m.ice and m.ice.usernameFragment and m.dtls and m.dtls.fingerprints for m in session.media):
        raise unreadable()
    return "".join(f"{line}\r\n" for line in sdp.splitlines() if line and near(line))


def unreadable() -> ApiError:
    return ApiError(400, "bad_sdp", "The offer is not understood; reload the page and try again.")


def near(line: str) -> bool:
    """False for a candidate that leads away from the own networks, for an announced end of candidates as well.

    Without an end WebRTC keeps waiting: a browser that hides its addresses (mDNS) is found by its own checks.
    """
    if line.startswith("a=end-of-candidates"):
        return False
    if not line.startswith("a=candidate:"):
        return True
    fields = line.split()
    return len(fields) > 7 and fields[2].lower() == "udp" and fields[7] == "host" and own_network(fields[4])


def own_network(host: str) -> bool:
    """Whether this is the number of a machine on a private network, or of this one."""
    try:
        address: Address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return (address.is_private or address.is_link_local or address.is_loopback) and not address.is_unspecified


def limited(sdp: str) -> str:
    """Our answer, in which the browser is asked for no more than ``BITRATE_K`` of video."""
    lines, video = list[str](), False
    for line in sdp.splitlines():
        video = line.startswith("m=video") if line.startswith("m=") else video
        lines.append(line)
        if video and line.startswith("c="):
            lines.append(f"b=AS:{BITRATE_K}")
    return "".join(f"{line}\r\n" for line in lines)

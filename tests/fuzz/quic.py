"""QUIC's first datagrams: headers of all kinds, and handshakes up to the point where the client would need a key.

An Initial packet is encrypted with a key that everybody can derive from its connection id (RFC 9001, section 5.2), so
its frames and its ClientHello can be anything. Everything comes from the dice, as in the other doors; only what the
server answers does not: its tokens and its connection ids.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

from aioquic import tls
from aioquic.buffer import Buffer, encode_uint_var
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import (
    QuicPacketType,
    QuicProtocolVersion,
    QuicTransportParameters,
    pull_quic_header,
    push_quic_transport_parameters,
)

from groupchat.quic import ALPN
from tests.fuzz.grammar import Dice

LEAST = 1200
"""The least bytes of a datagram that begins a connection: RFC 9000, section 14.1."""

MOST = 4
"""The most datagrams with frames of one input."""

VERSIONS = (QuicProtocolVersion.VERSION_1,) * 8 + (QuicProtocolVersion.VERSION_2,) * 3 + (0, 0x0A0A0A0A, 0xFFFFFFFF)
HANDSHAKE = b"\xe0"
"""The first byte of a Handshake packet of version 1, without its lower bits."""

Packets = Generator[bytes, bytes, None]
"""Datagrams of one client. It is sent the answer to each, empty if there is none."""


def packets(dice: Dice) -> Packets:
    """Yield what one client sends."""
    if dice.one_in(3):
        for _ in range(dice.randint(1, MOST)):
            yield _header(dice)
        return
    version = dice.choice(VERSIONS)
    if version not in (QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2):
        yield _padded(_long_header(dice, 0xC0, version) + dice.randbytes(40))
        return
    yield from _handshake(dice, version)


def _header(dice: Dice) -> bytes:
    """Return a datagram with a header that may be anything."""
    header = _long_header(dice, dice.randrange(0x40, 0x100), dice.choice(VERSIONS))
    body = dice.choice((b"", _number(dice) + dice.randbytes(dice.randrange(60)), dice.randbytes(1300)))
    data = header + body
    return dice.choice((data, _padded(data), dice.mutate(_padded(data)), data[: dice.randrange(len(data))] or b"\xc0"))


def _long_header(dice: Dice, first: int, version: int) -> bytes:
    ids = b"".join(_opaque(dice.randbytes(dice.choice((0, 1, 7, 8, 8, 8, 18, 20, 21, 255)))) for _ in range(2))
    return bytes([first]) + version.to_bytes(4, "big") + ids


def _opaque(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def _padded(data: bytes) -> bytes:
    return data.ljust(LEAST, b"\0")


def _number(dice: Dice) -> bytes:
    """Return an integer of variable length: RFC 9000, section 16."""
    most = dice.choice((0, 1, 63, 64, 1200, 16_383, 65_536, 1 << 30, (1 << 62) - 1))
    return encode_uint_var(most if dice.one_in(2) else dice.randrange(most + 1))


def _handshake(dice: Dice, version: int) -> Packets:
    """Begin a connection, prove the address, and go on with frames of all kinds."""
    to, source = dice.randbytes(dice.choice((8, 8, 8, 20, 0))), dice.randbytes(dice.choice((8, 8, 0, 20)))
    make = partial(_initial, dice, version, source)
    hello = _client_hello(dice, source)
    answer = yield make(to, b"", _crypto(0, hello), 0)
    token = b""
    if answer[:1] >= b"\xc0":
        header = pull_quic_header(Buffer(data=answer), host_cid_length=len(source))
        if header.packet_type == QuicPacketType.RETRY:
            to, token = header.source_cid, header.token
    if dice.one_in(8):
        token = dice.mutate(token)
    for number in range(1, 1 + dice.randint(1, MOST)):
        frames = _crypto(0, hello) if number == 1 and not dice.one_in(3) else _frames(dice, hello)
        datagram = make(to, token, frames, number if dice.one_in(3) else dice.randrange(1 << 16))
        yield dice.mutate(datagram) if dice.one_in(6) else datagram


def _initial(  # noqa: PLR0913, PLR0917 - the fields of a packet
    dice: Dice, version: int, source: bytes, to: bytes, token: bytes, frames: bytes, number: int
) -> bytes:
    """Return a datagram that begins with an Initial packet with these frames."""
    first = 0xD1 if version == QuicProtocolVersion.VERSION_2 else 0xC1
    frames = frames[:LEAST].ljust(4, b"\0")
    if not dice.one_in(4):
        frames = frames.ljust(LEAST, b"\0")
    head = bytes([first]) + version.to_bytes(4, "big") + _opaque(to) + _opaque(source)
    head += encode_uint_var(len(token)) + token
    head += (0x4000 | (2 + len(frames) + 16)).to_bytes(2, "big") + number.to_bytes(2, "big")
    keys = CryptoPair()
    keys.setup_initial(to, is_client=True, version=version)
    packet = keys.encrypt_packet(head, frames, number)
    if dice.one_in(5):
        packet += (
            HANDSHAKE + version.to_bytes(4, "big") + _opaque(to) + _opaque(source) + _number(dice) + dice.randbytes(50)
        )
    return packet if dice.one_in(8) else _padded(packet)


def _crypto(offset: int, data: bytes) -> bytes:
    return b"\x06" + encode_uint_var(offset) + encode_uint_var(len(data)) + data


def _frames(dice: Dice, hello: bytes) -> bytes:
    """Return some frames, also those that are not allowed yet, and pieces of the handshake at any offset."""
    found = b""
    for _ in range(dice.choice((1, 2, 5, 50))):
        match dice.randrange(6):
            case 0:
                at = dice.randrange(len(hello) + 1)
                found += _crypto(at, hello[at : at + dice.randrange(200)])
            case 1:
                found += b"\x06" + _number(dice) + _number(dice) + dice.randbytes(dice.randrange(20))
            case 2:
                found += b"\x02" + b"".join(_number(dice) for _ in range(dice.choice((4, 6, 30))))
            case 3:
                found += dice.choice((b"\x01", b"\x00" * 20, b"\x1e", b"\x1c\x00\x00\x00", b"\x1d\x00\x00"))
            case 4:
                found += bytes([dice.randrange(0x40)]) + b"".join(_number(dice) for _ in range(3)) + dice.randbytes(8)
            case 5:
                found += _crypto(0, dice.mutate(hello))
    return found


def _client_hello(dice: Dice, source: bytes) -> bytes:
    """Return a ClientHello, often with something odd in it, and sometimes damaged."""
    parameters = Buffer(capacity=2048)
    push_quic_transport_parameters(parameters, _parameters(dice, source))
    hello = tls.ClientHello(
        random=dice.randbytes(32),
        legacy_session_id=dice.randbytes(dice.choice((0, 0, 32))),
        cipher_suites=dice.sample(list(tls.CipherSuite), dice.randint(1, 3))
        if dice.one_in(4)
        else list(tls.CipherSuite),
        legacy_compression_methods=[0],
        alpn_protocols=dice.choice(([ALPN],) * 6 + (["h3"], ["x" * 255], [])),
        key_share=[(tls.Group.X25519, dice.randbytes(dice.choice((32,) * 8 + (0, 31))))],
        psk_key_exchange_modes=[1],
        server_name=dice.choice((None, "localhost", "x" * 300)),
        signature_algorithms=dice.choice(([0x0403, 0x0804, 0x0401],) * 6 + ([0x0201], [0xFFFF] * 100)),
        supported_groups=[tls.Group.X25519, tls.Group.SECP256R1],
        supported_versions=[tls.TLS_VERSION_1_3],
        other_extensions=[(tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS, parameters.data)]
        + [
            (dice.randrange(1 << 16), dice.randbytes(dice.choice((0, 4, 200))))
            for _ in range(dice.choice((0, 0, 1, 5)))
        ],
    )
    written = Buffer(capacity=8192)
    tls.push_client_hello(written, hello)
    return dice.mutate(written.data) if dice.one_in(4) else bytes(written.data)


def _parameters(dice: Dice, source: bytes) -> QuicTransportParameters:
    def number(usual: int) -> int:
        return usual if not dice.one_in(6) else dice.choice((0, 1, 20, 1199, 1 << 14, 1 << 32, (1 << 62) - 1))

    return QuicTransportParameters(
        max_idle_timeout=number(60_000),
        max_udp_payload_size=number(1500),
        initial_max_data=number(1 << 20),
        initial_max_stream_data_bidi_local=number(1 << 20),
        initial_max_stream_data_bidi_remote=number(1 << 20),
        initial_max_stream_data_uni=number(1 << 20),
        initial_max_streams_bidi=number(100),
        initial_max_streams_uni=number(100),
        ack_delay_exponent=number(3),
        max_ack_delay=number(25),
        active_connection_id_limit=number(8),
        initial_source_connection_id=source if not dice.one_in(8) else dice.randbytes(8),
        quantum_readiness=dice.randbytes(600) if dice.one_in(8) else None,
    )

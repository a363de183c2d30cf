//! Opus for symphonia, which knows its containers but has no decoder of its own.
//!
//! The decoder is libopus 1.3.1 in Rust, at 48 kHz. What it needs to settle (pre-skip) is dropped here; what follows the
//! end of the recording is dropped where the container says so, which Ogg does exactly.
//!
//! Headers: RFC 7845, section 5.1. Mapping families 0 (mono and stereo), 1 (surround) and 255 (unrelated channels).

use std::ptr::NonNull;

use symphonia::core::audio::{
    AsGenericAudioBufferRef, AudioBuffer, AudioMut, AudioSpec, GenericAudioBufferRef,
};
use symphonia::core::codecs::CodecInfo;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, FinalizeResult};
use symphonia::core::errors::{Error, Result, decode_error, unsupported_error};
use symphonia::core::packet::PacketRef;

/// Rate of everything that is decoded.
const RATE_HZ: u32 = 48_000;

/// Sample periods of the longest packet: 120 ms.
const MAX_PACKET_PERIODS: usize = 5_760;

const INFO: CodecInfo = CodecInfo {
    short_name: "opus",
    long_name: "Opus",
    profiles: &[],
};

/// What the identification header says.
#[derive(Debug, PartialEq)]
struct Head {
    channels: u8,
    pre_skip: u16,
    /// Factor for every sample.
    gain: f32,
    streams: u8,
    coupled_streams: u8,
    /// The decoded channel behind each channel.
    mapping: Vec<u8>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let (Some((b"OpusHead", fields)), true) =
            (bytes.split_first_chunk::<8>(), bytes.len() >= 19)
        else {
            return decode_error("opus: no identification header");
        };
        let channels = fields[1];
        let (streams, coupled_streams, mapping) = match (fields[10], fields.get(11..)) {
            (0, _) if matches!(channels, 1 | 2) => (1, channels - 1, vec![0, 1]),
            (1 | 255, Some([streams, coupled, mapping @ ..])) => {
                (*streams, *coupled, mapping.to_vec())
            }
            _ => return unsupported_error("opus: mapping of channels is neither 0, 1 nor 255"),
        };
        if channels == 0 || mapping.len() < usize::from(channels) {
            return decode_error("opus: the mapping of channels is cut off");
        }
        // in steps of 1/256 dB
        let gain_db = f32::from(i16::from_le_bytes([fields[8], fields[9]])) / 256.0;
        Ok(Head {
            channels,
            pre_skip: u16::from_le_bytes([fields[2], fields[3]]),
            gain: 10f32.powf(gain_db / 20.0),
            streams,
            coupled_streams,
            mapping,
        })
    }
}

/// Owns the state of libopus.
struct State(NonNull<unsafe_libopus::OpusMSDecoder>);

// SAFETY: the state is plain memory on the heap that nothing else points to, and `decode` needs it exclusively.
unsafe impl Send for State {}
// SAFETY: as above; a shared reference gives no access.
unsafe impl Sync for State {}

impl State {
    fn new(head: &Head) -> Result<Self> {
        let mut code = 0;
        // SAFETY: `mapping` has an entry for each channel, and libopus checks all other arguments.
        let state = unsafe {
            unsafe_libopus::opus_multistream_decoder_create(
                RATE_HZ as i32,
                head.channels.into(),
                head.streams.into(),
                head.coupled_streams.into(),
                head.mapping.as_ptr(),
                &mut code,
            )
        };
        NonNull::new(state)
            .map(State)
            .ok_or(Error::DecodeError("opus: the header is invalid"))
    }

    /// Sample periods written to `samples`, which has room for those of the longest packet.
    fn decode(&mut self, packet: &[u8], samples: &mut [f32], channels: usize) -> Result<usize> {
        assert!(samples.len() >= MAX_PACKET_PERIODS * channels);
        // SAFETY: the state is alive until `drop`, and there is room for the longest packet.
        let periods = unsafe {
            unsafe_libopus::opus_multistream_decode_float(
                self.0.as_ptr(),
                packet.as_ptr(),
                packet.len() as i32,
                samples.as_mut_ptr(),
                MAX_PACKET_PERIODS as i32,
                0,
            )
        };
        usize::try_from(periods).map_err(|_| Error::DecodeError("opus: the packet is invalid"))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: created in `new`, and not used again.
        unsafe { unsafe_libopus::opus_multistream_decoder_destroy(self.0.as_ptr()) }
    }
}

/// Decodes packets, of which the first `pre_skip` sample periods are dropped.
pub(super) struct OpusDecoder {
    parameters: AudioCodecParameters,
    head: Head,
    state: State,
    /// Sample periods still to be dropped.
    skip: usize,
    /// Room for the longest packet: `[periods, channels]`.
    samples: Vec<f32>,
    buffer: AudioBuffer<f32>,
}

impl OpusDecoder {
    pub fn try_new(parameters: &AudioCodecParameters) -> Result<Self> {
        let head = Head::parse(parameters.extra_data.as_deref().unwrap_or_default())?;
        let channels = match &parameters.channels {
            Some(channels) if channels.count() == usize::from(head.channels) => channels.clone(),
            _ => return decode_error("opus: the container gives another number of channels"),
        };
        Ok(OpusDecoder {
            parameters: parameters.clone(),
            state: State::new(&head)?,
            skip: head.pre_skip.into(),
            samples: vec![0.0; MAX_PACKET_PERIODS * usize::from(head.channels)],
            buffer: AudioBuffer::new(AudioSpec::new(RATE_HZ, channels), MAX_PACKET_PERIODS),
            head,
        })
    }
}

impl AudioDecoder for OpusDecoder {
    fn reset(&mut self) {
        // only a seek calls this, and recordings are read from end to end
    }

    fn codec_info(&self) -> &CodecInfo {
        &INFO
    }

    fn codec_params(&self) -> &AudioCodecParameters {
        &self.parameters
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>) -> Result<GenericAudioBufferRef<'_>> {
        self.buffer.clear();
        if packet.data.is_empty() {
            // libopus would make up audio, as for a packet lost on its way
            return decode_error("opus: the packet is empty");
        }
        let channels = usize::from(self.head.channels);
        let periods = self
            .state
            .decode(packet.data, &mut self.samples, channels)?;
        let samples = &mut self.samples[..periods * channels];
        if self.head.gain != 1.0 {
            samples.iter_mut().for_each(|x| *x *= self.head.gain);
        }
        self.buffer.render_uninit(Some(periods));
        self.buffer.copy_from_slice_interleaved(&samples);
        let skipped = self.skip.min(periods);
        self.skip -= skipped;
        let surplus = (packet.trim_end.get() as usize).min(periods - skipped);
        self.buffer.trim(skipped, surplus);
        Ok(self.buffer.as_generic_audio_buffer_ref())
    }

    fn finalize(&mut self) -> FinalizeResult {
        FinalizeResult::default()
    }

    fn last_decoded(&self) -> GenericAudioBufferRef<'_> {
        self.buffer.as_generic_audio_buffer_ref()
    }
}

#[cfg(test)]
mod tests;

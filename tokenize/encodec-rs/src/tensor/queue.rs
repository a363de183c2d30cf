//! A codec on a device that all threads of a program share: what they ask for at the same time is computed together, by one
//! thread, while the others read and resample.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use burn::tensor::backend::Backend;
use kernels::backend::BackendKind;

use super::{MAX_BATCH_SAMPLES, TensorCodec};
use crate::network::Model;
use crate::{Codec, CodecSpec, Codes, Result};

/// A [`TensorCodec`] behind a queue.
pub struct DeviceCodec {
    spec: CodecSpec,
    is_chunked: bool,
    backend: BackendKind,
    requests: Sender<Request>,
}

/// Codes of utterances, that a thread waits for.
struct Encoding {
    utterances: Vec<Vec<f32>>,
    reply: SyncSender<Vec<Result<Codes>>>,
}

/// What a thread waits for.
enum Request {
    /// See there.
    Encode(Encoding),
    /// Samples of one.
    Decode(Codes, SyncSender<Result<Vec<f32>>>),
}

impl DeviceCodec {
    /// Copies the weights to `device`, one of `backend`, which `B` is.
    pub fn new<B: Backend>(model: &Model, device: B::Device, backend: BackendKind) -> Self {
        let codec = TensorCodec::<B>::new(model, &device);
        let (requests, queue) = channel();
        let spec = codec.spec().clone();
        let is_chunked = codec.is_chunked();
        // It ends when the last sender is dropped.
        thread::spawn(move || serve(&codec, &queue));
        Self {
            spec,
            is_chunked,
            backend,
            requests,
        }
    }

    fn ask<T>(&self, request: impl FnOnce(SyncSender<T>) -> Request) -> T {
        let (reply, answer) = sync_channel(1);
        let sent = self.requests.send(request(reply)).ok();
        let answer = sent.and_then(|()| answer.recv().ok());
        answer
            .expect("the thread that has the codec lives as long as its queue, unless it panicked")
    }
}

impl Codec for DeviceCodec {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, samples: &[f32]) -> Result<Codes> {
        self.encode_batch(&[samples]).remove(0)
    }

    fn encode_batch(&self, utterances: &[&[f32]]) -> Vec<Result<Codes>> {
        let utterances = utterances.iter().map(|samples| samples.to_vec()).collect();
        self.ask(|reply| Request::Encode(Encoding { utterances, reply }))
    }

    fn is_chunked(&self) -> bool {
        self.is_chunked
    }

    fn backend(&self) -> BackendKind {
        self.backend
    }

    fn decode(&self, codes: &Codes) -> Result<Vec<f32>> {
        self.ask(|reply| Request::Decode(codes.clone(), reply))
    }
}

/// Answers until nobody can ask any more. Who no longer waits for an answer gets none.
fn serve<B: Backend>(codec: &TensorCodec<B>, queue: &Receiver<Request>) {
    while let Ok(request) = queue.recv() {
        let mut encode = Vec::new();
        let mut decode = Vec::new();
        let mut waiting = Some(request);
        let mut samples = 0;
        while let Some(request) = waiting {
            match request {
                Request::Encode(own) => {
                    samples += own.utterances.iter().map(Vec::len).sum::<usize>();
                    encode.push(own);
                }
                Request::Decode(codes, reply) => decode.push((codes, reply)),
            }
            let is_full = samples >= MAX_BATCH_SAMPLES;
            waiting = (!is_full).then(|| queue.try_recv().ok()).flatten();
        }
        encode_all(codec, &encode);
        for (codes, reply) in decode {
            let _ = reply.send(codec.decode(&codes));
        }
    }
}

fn encode_all<B: Backend>(codec: &TensorCodec<B>, requests: &[Encoding]) {
    let utterances: Vec<&[f32]> = requests
        .iter()
        .flat_map(|own| own.utterances.iter().map(Vec::as_slice))
        .collect();
    let mut codes = codec.encode_batch(&utterances).into_iter();
    for own in requests {
        let count = own.utterances.len();
        let _ = own.reply.send(codes.by_ref().take(count).collect());
    }
}

// Runs transformers.js on local folders. A line on stdin is a JSON list of requests, a line on stdout the JSON list of their answers:
//
//   {"task": "text-classification", "model": "/folder", "dtype": "fp32", "inputs": ["a text"], "options": {"top_k": null}}
//     -> {"result": ...}, or {"error": "..."}; tensors become {"dims": [...], "data": [...]}
//
// Besides the names of pipelines, `task` may be "tokenizer" (inputs: text or texts, options: text_pair, ...), "decode" (inputs: ids) or the name
// of a class such as "AutoModelForSequenceClassification" (inputs as for "tokenizer" -> its outputs). Models stay open.

import { createInterface } from 'node:readline';

import * as library from '@huggingface/transformers';

library.env.allowRemoteModels = false;
library.env.useFSCache = false;
// stdout is for the answers alone.
console.log = console.info = console.warn = console.error;

const opened = new Map();
const session_options = { intraOpNumThreads: 1, interOpNumThreads: 1 };

function once(key, open) {
    if (!opened.has(key)) opened.set(key, open());
    return opened.get(key);
}

function plain(value) {
    if (value instanceof library.Tensor) {
        return { dims: value.dims, data: Array.from(value.data, Number) };
    }
    if (Array.isArray(value)) return value.map(plain);
    if (typeof value === 'bigint') return Number(value);
    if (value && typeof value === 'object') {
        return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, plain(part)]));
    }
    return value;
}

async function answer({ task, model, dtype, inputs = [], options = {} }) {
    const tokenizer = () => once(`tokenizer ${model}`, () => library.AutoTokenizer.from_pretrained(model));
    if (task === 'tokenizer') return (await tokenizer())(inputs, { return_tensor: false, ...options });
    if (task === 'decode') return (await tokenizer()).decode(inputs, options);
    if (task.startsWith('AutoModel')) {
        const network = await once(`${task} ${model} ${dtype}`, () => library[task].from_pretrained(model, { dtype, session_options }));
        return await network((await tokenizer())(inputs, { padding: true, truncation: true, ...options }));
    }
    const run = await once(`${task} ${model} ${dtype}`, () => library.pipeline(task, model, { dtype, session_options }));
    return await run(...inputs, options);
}

for await (const line of createInterface({ input: process.stdin })) {
    const answers = [];
    for (const request of JSON.parse(line)) {
        try {
            answers.push({ result: plain(await answer(request)) });
        } catch (error) {
            answers.push({ error: String(error?.message ?? error) });
        }
    }
    process.stdout.write(`${JSON.stringify(answers)}\n`);
}

// Checks OpenRPC documents, and samples of params and results against them. Standard input has a
// JSON value a line: {"document": …, "samples": [{"method": …, "params": …, "result": …}]}. For
// each there is a line on standard output: what is wrong, as an array of strings for the
// document, and one for each sample.
const Ajv = require("ajv");
const openRPC = require("@open-rpc/meta-schema").openrpcDocument;
const jsonSchema = require("@json-schema-tools/meta-schema").default;

// messages returns what a validator has found, and why.
function messages(validate, value) {
  return validate(value) ? [] : validate.errors.map((e) => `${e.instancePath || "/"} ${e.message}`);
}

// The meta-schema says that it is written in the other, which ajv would look up by that name.
const ajv = new Ajv({ strict: false, validateFormats: false });
ajv.addSchema(jsonSchema, "https://meta.json-schema.tools");
const { $schema, ...metaSchema } = openRPC;
const validateDocument = ajv.compile(metaSchema);

function checkSample(schemas, method, { params, result }) {
  const named = params && !Array.isArray(params);
  const wrong = [];
  if (params && !named && method.params.length < params.length && !method.params.some((p) => p["x-variadic"])) {
    wrong.push("too many params");
  }
  if (named && method.paramStructure === "by-position") {
    wrong.push("params by name");
  }
  method.params.forEach((param, i) => {
    const given = params === undefined ? [] : named ? (param.name in params ? [params[param.name]] : [])
      : param["x-variadic"] ? params.slice(i) : params.slice(i, i + 1);
    if (param.required && given.length === 0) {
      wrong.push(`${param.name} is missing`);
    }
    for (const value of given) {
      wrong.push(...messages(schemas(`params/${i}/schema`), value).map((m) => `${param.name}: ${m}`));
    }
  });
  if (result !== undefined) {
    wrong.push(...messages(schemas("result/schema"), result).map((m) => `result: ${m}`));
  }
  return wrong;
}

function check({ document, samples }) {
  // Each schema is compiled as draft 7, with its references to the components.
  const draft7 = new Ajv({ strict: false, validateFormats: false });
  draft7.addSchema(document, "document");
  const compiled = (i) => (path) => draft7.getSchema(`document#/methods/${i}/${path}`);
  document.methods.forEach((method, i) => {
    method.params.forEach((_, j) => compiled(i)(`params/${j}/schema`));
    compiled(i)("result/schema");
  });
  for (const name in document.components.schemas) {
    draft7.getSchema(`document#/components/schemas/${name}`);
  }
  return {
    document: messages(validateDocument, document),
    samples: (samples || []).map((sample) => {
      const i = document.methods.findIndex((m) => m.name === sample.method);
      return i < 0 ? ["no such method"] : checkSample(compiled(i), document.methods[i], sample);
    }),
  };
}

const lines = require("fs").readFileSync(0, "utf8").split("\n").filter((line) => line !== "");
for (const line of lines) {
  console.log(JSON.stringify(check(JSON.parse(line))));
}

//! Any text is parsed or refused, with findings that point into it; what is parsed is printed so
//! that it reads back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wampgate::diagnostic::SourceId;
use wampgate::mops::Template;

fuzz_target!(|text: &str| {
    match Template::parse(text, SourceId(0)) {
        Ok(template) => {
            // As JSON: `{{$map}}` is a literal, which only JSON tells from the text `{}`.
            let printed = template.to_value();
            let again = Template::from_value(&printed, &mut 0).expect("what is printed is right");
            assert_eq!(again, template, "{printed}");
            assert_eq!(again.to_value(), printed);
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                let span = error.span();
                assert!(text.get(span.start as usize..span.end as usize).is_some());
                assert!(!error.message().is_empty());
                let _ = error.hint();
            }
        }
    }
});

//! Every file that qiji writes on a host and every manifest that it applies, as Handlebars templates, and their rendering.
//!
//! Flow: [`render`] takes a [`Template`] and finished values and gives the text. Templates make no decisions beyond leaving out
//! a part whose value is empty or false; what a value is, its caller has decided.
//!
//! Guarantees: rendering is strict, so a value that a template names and the caller forgot is an error, not an empty string.
//! Nothing is escaped for HTML. `{{quote x}}` writes a string as a JSON string, which YAML reads as the same string whatever it
//! holds. `@{name}` is not the renderer's: it stands for a value that only a run knows, and passes through.
//!
//! Limits: all templates are compiled in; a site changes a file by the drop-in folders that the files themselves name.

use handlebars::{
    Context, Handlebars, Helper, HelperResult, Output, RenderContext, RenderErrorReason, no_escape,
};
use include_dir::{Dir, include_dir};
use serde::Serialize;

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/files");

/// Names a template; each is a file below `templates/files/`, and its fields are the names that it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Template {
    /// `/etc/containerd/config.toml`, version 3 of its format.
    ContainerdConfig,
    /// `containerd.service`.
    ContainerdUnit,
    /// `/var/lib/kubelet/config.yaml`, a `KubeletConfiguration`.
    KubeletConfig,
    /// `kubelet.service`.
    KubeletUnit,
    /// kubelet's kubeconfig once it has a certificate of its own.
    KubeletKubeconfig,
    /// kubelet's kubeconfig while it joins.
    BootstrapKubeconfig,
    /// kubeadm's configuration (`v1beta4`) of a control-plane host.
    KubeadmInit,
    /// kubeadm's configuration of a bootstrap token.
    KubeadmToken,
    /// A file for `/etc/sysctl.d`.
    Sysctl,
    /// A file for `/etc/modules-load.d`.
    Modules,
    /// The wrapper that runs `nft` from the bundle.
    Nft,
    /// A `resolv.conf` for pods that use the host's name servers.
    ResolvConf,
    /// The CNI configuration list.
    CniConflist,
    /// Role bindings that a cluster starts with.
    Access,
    /// kube-proxy.
    KubeProxy,
    /// flannel.
    Flannel,
    /// `CoreDNS`.
    CoreDns,
}

impl Template {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::ContainerdConfig,
        Self::ContainerdUnit,
        Self::KubeletConfig,
        Self::KubeletUnit,
        Self::KubeletKubeconfig,
        Self::BootstrapKubeconfig,
        Self::KubeadmInit,
        Self::KubeadmToken,
        Self::Sysctl,
        Self::Modules,
        Self::Nft,
        Self::ResolvConf,
        Self::CniConflist,
        Self::Access,
        Self::KubeProxy,
        Self::Flannel,
        Self::CoreDns,
    ];

    /// Its file below `templates/files/`.
    pub const fn file(self) -> &'static str {
        match self {
            Self::ContainerdConfig => "containerd/config.toml.hbs",
            Self::ContainerdUnit => "containerd/containerd.service.hbs",
            Self::KubeletConfig => "kubelet/config.yaml.hbs",
            Self::KubeletUnit => "kubelet/kubelet.service.hbs",
            Self::KubeletKubeconfig => "kubelet/kubelet.conf.hbs",
            Self::BootstrapKubeconfig => "kubelet/bootstrap-kubelet.conf.hbs",
            Self::KubeadmInit => "kubeadm/init.yaml.hbs",
            Self::KubeadmToken => "kubeadm/token.yaml.hbs",
            Self::Sysctl => "host/sysctl.conf.hbs",
            Self::Modules => "host/modules.conf.hbs",
            Self::Nft => "host/nft.hbs",
            Self::ResolvConf => "host/resolv.conf.hbs",
            Self::CniConflist => "cni/10-flannel.conflist.hbs",
            Self::Access => "manifests/access.yaml.hbs",
            Self::KubeProxy => "manifests/kube-proxy.yaml.hbs",
            Self::Flannel => "manifests/flannel.yaml.hbs",
            Self::CoreDns => "manifests/coredns.yaml.hbs",
        }
    }
}

/// A template could not be rendered with the values given.
#[derive(Debug, thiserror::Error)]
#[error("cannot render the template {file}")]
pub struct RenderError {
    /// The template's file.
    pub file: &'static str,
    /// What is missing or wrong, with the line.
    #[source]
    pub source: Box<handlebars::RenderError>,
}

/// Renders `template` with `values`, whose fields are the names in the template.
///
/// # Errors
/// When a name that the template uses has no value, or a quoted value is not a string.
pub fn render<T: Serialize>(template: Template, values: &T) -> Result<String, RenderError> {
    let file = template.file();
    let text = FILES.get_file(file).and_then(|found| found.contents_utf8()).unwrap_or_default();
    engine().render_template(text, values).map_err(|source| RenderError { file, source: Box::new(source) })
}

fn engine() -> Handlebars<'static> {
    let mut engine = Handlebars::new();
    engine.set_strict_mode(true);
    engine.register_escape_fn(no_escape);
    engine.register_helper("quote", Box::new(quote));
    engine
}

/// `{{quote x}}`: the string `x` as a JSON string.
fn quote(
    helper: &Helper<'_>,
    _: &Handlebars<'_>,
    _: &Context,
    _: &mut RenderContext<'_, '_>,
    out: &mut dyn Output,
) -> HelperResult {
    let value = helper.param(0).ok_or(RenderErrorReason::ParamNotFoundForIndex("quote", 0))?;
    let text = value.value().as_str().ok_or_else(|| {
        RenderErrorReason::InvalidParamType("a string that is there (`quote` writes nothing else)")
    })?;
    out.write(&serde_json::Value::from(text).to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_template_is_a_file_and_every_file_a_template() {
        let named: Vec<_> = Template::ALL.iter().map(|template| template.file()).collect();
        let mut found = Vec::new();
        for folder in FILES.dirs() {
            found.extend(folder.files().map(|file| file.path().to_str().unwrap()));
        }
        for name in &named {
            assert!(FILES.get_file(name).is_some(), "{name} is missing");
        }
        assert_eq!(named.len(), found.len(), "{found:?}");
    }

    #[test]
    fn every_template_parses() {
        for template in Template::ALL {
            let text = FILES.get_file(template.file()).unwrap().contents_utf8().unwrap();
            handlebars::Template::compile(text)
                .unwrap_or_else(|fault| panic!("{}: {fault}", template.file()));
        }
    }

    #[test]
    fn a_forgotten_value_is_an_error() {
        for template in Template::ALL {
            if matches!(template, Template::CniConflist | Template::Access) {
                continue; // they have no values
            }
            let rendered = render(template, &json!({}));
            let lists_only = matches!(template, Template::Sysctl | Template::Modules | Template::ResolvConf);
            assert!(rendered.is_err() || lists_only, "{} needs nothing", template.file());
        }
    }

    #[test]
    fn quoted_text_stays_one_string() {
        let values = json!({ "cluster": "a\": b\n- c", "server": "<&>" });
        let text = render(Template::KubeletKubeconfig, &values).unwrap();
        assert!(text.contains(r#"cluster: "a\": b\n- c""#), "{text}");
        assert!(text.contains(r#"server: "<&>""#), "nothing is escaped for HTML: {text}");
    }

    #[test]
    fn values_of_a_run_pass_through() {
        let values = json!({
            "token_id": "abcdef",
            "ttl": "1h0m0s",
            "address": "10.20.0.11",
            "kubernetes_version": "v1.36.3",
        });
        assert!(render(Template::KubeadmToken, &values).unwrap().contains("\"abcdef.@{token_secret}\""));
    }
}

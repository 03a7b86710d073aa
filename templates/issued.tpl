% rebase('layout.tpl')
<div class="narrow">
<h1>{{page.title}}</h1>
<p>{{t("token.once")}}</p>
<div class="form">
  <div class="field"><label for="secret">{{!t.html("token.of_label", subject=page.subject, label=page.label) if page.label else t.html("token.of", subject=page.subject)}}</label>
    <textarea id="secret" class="secret" rows="3" readonly spellcheck="false" dir="ltr">{{page.secret}}</textarea></div>
  <p class="actions"><button class="button solid" type="button" data-copy="{{page.secret}}" data-done="{{t("common.copied")}}" hidden>{{t("token.copy")}}</button></p>
</div>
<section>
<h2>{{t("token.try")}}</h2>
<textarea class="secret" rows="3" readonly spellcheck="false" dir="ltr" aria-label="{{t("token.try_label")}}">{{page.curl}}</textarea>
<p class="actions"><button class="button small" type="button" data-copy="{{page.curl}}" data-done="{{t("common.copied")}}" hidden>{{t("token.copy_command")}}</button></p>
</section>
<p class="actions"><a class="button" href="{{page.token_href}}">{{t("common.done")}}</a> <a class="button" href="{{page.new_href}}">{{t("token.another")}}</a></p>
</div>

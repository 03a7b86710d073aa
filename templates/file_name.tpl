<%
rebase('layout.tpl', title=t("errors.title", title=title) if page.error else title)
%>
<div class="narrow">
<h1>{{title}}</h1>
<form class="form" method="post" action="{{page.action}}">
% include('_token.tpl')
% if page.what == "rename":
  <input type="hidden" name="id" value="{{page.box}}">
% end
  <div class="field{{" wrong" if page.error else ""}}"><label for="new-name">{{page.label}}</label>
% if page.error:
    <p class="error" id="new-name-error">{{page.error}}</p>
% end
    <input type="text" id="new-name" name="name" value="{{page.typed}}" required autocomplete="off" dir="auto"\\
% if page.error:
 aria-invalid="true" aria-describedby="new-name-error"\\
% end
></div>
  <div class="actions"><button class="button solid">{{page.submit}}</button>
    <a class="button" href="{{page.back_href}}">{{t("form.cancel")}}</a></div>
</form>
</div>

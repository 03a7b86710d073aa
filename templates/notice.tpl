% rebase('layout.tpl')
% line = page.line
<div class="head">
  <div><h1>{{page.title}}</h1>
    <p><span class="pill{{" bad" if line.dead else ""}}">{{line.state}}</span></p></div>
  <div class="tools">
% include('_notice_buttons.tpl', line=line)
  </div>
</div>
% include('_facts.tpl', fields=page.fields)
<p class="back"><a href="{{url('admin/outbox')}}">{{t("outbox.back")}}</a></p>
